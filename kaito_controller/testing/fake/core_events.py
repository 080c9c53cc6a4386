"""Events as the core group shows them: the same objects as those of events.k8s.io, under older names."""

from __future__ import annotations

from collections.abc import Mapping

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource

CORE_EVENTS = Resource(group="", version="v1", kind="Event", plural="events", namespaced=True)

_NAMES: Mapping[str, str] = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
"""Name in the core group → name in events.k8s.io, where the two differ."""
_SHOWN = {stored: core for core, stored in _NAMES.items()}

FIELDS: Mapping[str, str] = {
    **{f"involvedObject.{part}": f"regarding.{part}" for part in ("kind", "namespace", "name", "uid", "apiVersion")},
    "reason": "reason",
    "reportingComponent": "reportingController",
    "type": "type",
}


def shown(obj: Object) -> Object:
    """A stored event as the core group shows it."""
    return {_SHOWN.get(name, name): value for name, value in obj.items()} | {"apiVersion": CORE_EVENTS.api_version}


def stored(obj: Object) -> Object:
    """An event of the core group as it is stored."""
    return {_NAMES.get(name, name): value for name, value in obj.items()} | {"apiVersion": "events.k8s.io/v1"}
