"""An event as events.k8s.io/v1 wants it; pure."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from kaito_controller.kube.core import EVENTS
from kaito_controller.kube.metadata import Object, resource_version, uid
from kaito_controller.kube.metadata import name as name_of
from kaito_controller.kube.metadata import namespace as namespace_of
from kaito_controller.machinery.events.correlator import Happening

# Bounds of events.k8s.io/v1 in bytes (pkg/apis/core/validation/events.go upstream).
NOTE_LIMIT: Final = 1024
INSTANCE_LIMIT: Final = 128
ACTION_LIMIT: Final = 128


@frozen(kw_only=True)
class Reporter:
    """Who reports: the controller, and which of its processes."""

    controller: str
    instance: str

    def event(
        self,
        happening: Happening,
        note: str,
        regarding: Object,
        related: Object | None,
        *,
        stamp: int,
        time: str,
    ) -> Object:
        """The event object; that of a cluster-scoped object lives in namespace default (EV6).

        ``stamp`` makes its name, in nanoseconds since 1970; ``time`` is the same as MicroTime.
        """
        name = name_of(regarding)
        event: Object = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{name[:200]}.{stamp:x}", "namespace": namespace_of(regarding) or "default"},
            "eventTime": time,
            "reportingController": self.controller,
            "reportingInstance": cut(self.instance, INSTANCE_LIMIT),
            "action": happening.action,
            "reason": happening.reason,
            "type": happening.type,
            "note": note,
            "regarding": reference(regarding),
        }
        if related is not None:
            event["related"] = reference(related)
        return event


def identity(obj: Object) -> tuple[str, ...]:
    """Which object it is. Not in which version, or each change of the object would begin a new series."""
    return (str(obj.get("kind", "")), namespace_of(obj), name_of(obj), uid(obj))


def reference(obj: Object) -> Object:
    """Return a reference to it, in the version that it has; what it lacks is left out."""
    parts = {
        "apiVersion": obj.get("apiVersion", ""),
        "kind": obj.get("kind", ""),
        "namespace": namespace_of(obj),
        "name": name_of(obj),
        "uid": uid(obj),
        "resourceVersion": resource_version(obj),
    }
    return {part: value for part, value in parts.items() if value}


def cut(text: str, limit: int) -> str:
    """The text in at most so many bytes of UTF-8, as the server counts them."""
    return text.encode()[:limit].decode(errors="ignore") if len(text) * 4 > limit else text
