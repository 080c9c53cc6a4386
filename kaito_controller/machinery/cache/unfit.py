"""Objects whose content does not fit what reads them: told of once, on the object itself and in the metrics.

They are written by anybody: a newer API's fields, nulls, values of another kind. They stay in the store and in
everybody's sight; only what cannot make sense of them passes them over, until they change.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from kaito_controller.kube.metadata import Object, generation, key, uid
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.recent import Recent

REASON: Final = "ObjectUnfit"
REMEMBERED: Final = 16_384
"""Reports kept in mind so as not to be repeated; the longest unused is forgotten first."""
DATA_ERRORS: Final = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What code raises that meets content of another form than it expects; anything else is no fault of the object."""

log = logger(__name__)


@frozen
class _Report:
    generation: int
    reader: str
    fault: str


class UnfitObjects:
    """The one place where unfit content is reported."""

    def __init__(self, metrics: Metrics | None = None, recorder: EventRecorder | None = None) -> None:
        self._metrics = metrics
        self._recorder = recorder
        self._reports: Recent[tuple[str, str], _Report] = Recent(REMEMBERED)

    def report(self, obj: Object, reader: str, fault: str, *, tells: bool = True) -> bool:
        """Tell that a reader cannot make sense of an object; False when that is known already.

        It is known while the generation stays, whoever reads it. For kinds that count no generation the first reader
        tells again when it finds another fault.

        Args:
            obj: the object, whatever form it has.
            reader: who cannot make sense of it.
            fault: what is wrong with it, in a sentence without its full stop.
            tells: whether to tell it on the object by an event; False where the reader tells its user otherwise.
        """
        kind = str(obj.get("kind") or "object")
        found = _identity(obj)
        if not self._is_news((kind, found), _Report(_generation(obj), reader, fault)):
            return False
        log.warning("an object does not fit", kind=kind, id=found, reader=reader, fault=fault)
        if self._metrics is not None:
            self._metrics.unfit_objects.labels(kind).inc()
        if tells and self._recorder is not None and found:
            note = f"{fault}. {reader[:1].upper()}{reader[1:]} passes it over until it is corrected; all else goes on."
            self._recorder.event(obj, "Warning", REASON, note, action="Read")
        return True

    def _is_news(self, identity: tuple[str, str], report: _Report) -> bool:
        known = self._reports.get(identity)
        if known is not None and known.generation == report.generation:
            says_the_same = known.reader != report.reader or known.fault == report.fault
            if report.generation or says_the_same:
                return False
        self._reports.put(identity, report)
        return True


def _identity(obj: Object) -> str:
    try:
        return uid(obj) or key(obj)
    except AttributeError:
        # Not even its metadata is an object.
        return ""


def _generation(obj: Object) -> int:
    try:
        return generation(obj)
    except (AttributeError, TypeError, ValueError):
        return 0
