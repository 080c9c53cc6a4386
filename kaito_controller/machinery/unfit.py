"""Objects whose content does not fit what reads them: told of once, on the object itself and in the metrics.

They are written by anybody: a newer API's fields, nulls, values of another kind. They stay in the store and in
everybody's sight; only what cannot make sense of them passes them over, until they change.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

from kaito_controller.kube.metadata import Object, generation, key, uid
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

REASON: Final = "ObjectUnfit"
REMEMBERED: Final = 16_384
"""Reports kept in mind so as not to be repeated; the longest unused is forgotten first."""
DATA_ERRORS: Final = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What code raises that meets content of another form than it expects; anything else is no fault of the object."""

log = logger(__name__)


class Recorder(Protocol):
    """What an `EventRecorder` can do that is needed here."""

    def event(self, regarding: Object, type_: str, reason: str, note: str, *, action: str = "") -> None:
        """Record that something happened to an object."""
        ...


class UnfitObjects:
    """The one place where unfit content is reported."""

    def __init__(self, metrics: Metrics | None = None, recorder: Recorder | None = None) -> None:
        self._metrics = metrics
        self._recorder = recorder
        self._reported: OrderedDict[tuple[str, str, str], int | str] = OrderedDict()

    def report(self, obj: Object, reader: str, fault: str) -> bool:
        """Tell that a reader cannot make sense of an object; False when that was told before.

        It counts as told before while the generation stays; for kinds without one, while the fault stays the same.
        """
        kind = str(obj.get("kind") or "object")
        known = _identity(obj)
        identity = (kind, known, reader)
        mark = _generation(obj) or fault
        if self._reported.get(identity) == mark:
            self._reported.move_to_end(identity)
            return False
        self._reported[identity] = mark
        self._reported.move_to_end(identity)
        if len(self._reported) > REMEMBERED:
            self._reported.popitem(last=False)
        log.warning("an object does not fit", kind=kind, id=known, reader=reader, fault=fault)
        if self._metrics is not None:
            self._metrics.unfit_objects.labels(kind).inc()
        if self._recorder is not None and known:
            note = f"{fault}. {reader} passes it over until it is corrected; everything else goes on."
            self._recorder.event(obj, "Warning", REASON, note, action="Read")
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
