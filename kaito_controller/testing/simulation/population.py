"""Actors that change objects straight on the server, as users and other controllers do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random

from attrs import define, field

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.simulation.history import History
from kaito_controller.testing.simulation.trace import Trace

NAMESPACES = ("north", "south")
NAMES = ("ash", "birch", "cedar")
COLLECTION = "configmaps"
APPS = ("", "one", "two")
TEXTS = ("grün", "木", "plain", "\u2028", "")
"""Values with characters of one to four bytes, for cuts within one."""


@define
class Population:
    """A few ConfigMaps that come, change and go, written straight into the storage: no request is as fast."""

    server: FakeServer
    history: History
    rng: Random
    trace: Trace
    _uids: Iterator[int] = field(init=False, factory=lambda: count(1))

    def step(self) -> None:
        """Do one thing to one object, drawn among those that are possible."""
        rng = self.rng
        space, name = rng.choice(NAMESPACES), rng.choice(NAMES)
        known = self.history.now.get(f"{space}/{name}")
        deed = rng.choice(("change", "change", "relabel", "delete", "recreate")) if known else "create"
        self.trace.note("actor", deed, space, name)
        if known is None:
            self._create(space, name)
        elif deed == "change":
            self._write(known | {"data": self._data()})
        elif deed == "relabel":
            self._write(known | {"metadata": known["metadata"] | {"labels": self._labels()}})
        else:
            self.server.storage.remove(COLLECTION, f"{space}/{name}")
            if deed == "recreate":
                self._create(space, name)

    def _create(self, space: str, name: str) -> None:
        head = {"name": name, "namespace": space, "labels": self._labels(), "uid": f"uid-{next(self._uids)}"}
        head["creationTimestamp"] = self.server.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        kind = {"apiVersion": CONFIG_MAPS.api_version, "kind": CONFIG_MAPS.kind}
        self._write(kind | {"metadata": head, "data": self._data()})

    def _write(self, obj: Object) -> None:
        self.server.storage.write(COLLECTION, key(obj), obj)

    def _labels(self) -> dict[str, str]:
        app = self.rng.choice(APPS)
        return {"app": app} if app else {}

    def _data(self) -> Object:
        return {"text": self.rng.choice(TEXTS), "number": str(self.rng.randrange(1000))}
