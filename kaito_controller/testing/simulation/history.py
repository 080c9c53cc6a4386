"""What really happened to the objects of one kind, as the server stored it."""

from __future__ import annotations

from collections.abc import Callable

from kaito_controller.kube.metadata import Object, key
from kaito_controller.kube.resource import Resource
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.storage import Change


class History:
    """Every state of every object of one kind, from the making of this record on.

    Attributes:
        now: the objects as they are.
        changed_at: when each object last changed.
    """

    def __init__(self, server: FakeServer, resource: Resource) -> None:
        self.now: dict[str, Object] = {}
        self.changed_at: dict[str, float] = {}
        self.changes = 0
        self._states: dict[tuple[str, str], Object] = {}
        kind = server.kinds.of(resource)
        server.storage.collection(kind.group_resource).subscribers.append(self._take)

    def state(self, key: str, version: str) -> Object | None:
        """The object as it was at one of its own versions; None when it never was."""
        return self._states.get((key, version))

    def versions(self, matches: Callable[[Object], bool]) -> dict[str, str]:
        """The versions of the objects that match, by key."""
        return {name: obj["metadata"]["resourceVersion"] for name, obj in self.now.items() if matches(obj)}

    def _take(self, change: Change) -> None:
        self.changes += 1
        obj = change.new if change.new is not None else change.old
        assert obj is not None
        name = key(obj)
        self.changed_at[name] = change.at
        if change.new is None:
            self.now.pop(name, None)
        else:
            self.now[name] = change.new
            self._states[name, str(change.version)] = change.new
