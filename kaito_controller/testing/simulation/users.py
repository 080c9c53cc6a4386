"""Users who change widgets, and vandals who change what an operator made of them."""

from __future__ import annotations

from random import Random

from attrs import define

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, name, namespace
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.storage import Change
from kaito_controller.testing.simulation.history import History
from kaito_controller.testing.simulation.reconciling import WIDGETS
from kaito_controller.testing.simulation.trace import Trace

SPACES = ("north", "south")
WIDGET_NAMES = ("ash", "birch")


@define(kw_only=True)
class Users:
    """Everybody but the operator.

    Attributes:
        haste: the chance that a child is deleted a moment after it was made.
    """

    server: FakeServer
    clock: Clock
    rng: Random
    trace: Trace
    widgets: History
    children: History
    haste: float

    def __attrs_post_init__(self) -> None:
        self.server.storage.collection("configmaps").subscribers.append(self._spoil_new)

    def step(self) -> None:
        """Do one thing to a widget or, as a vandal, to a child."""
        rng = self.rng
        if self.children.now and rng.random() < 0.25:  # noqa: PLR2004 - one in four
            child = rng.choice([self.children.now[each] for each in sorted(self.children.now)])
            self.trace.note("actor", "spoil", name(child))
            if rng.random() < 0.5:  # noqa: PLR2004 - a coin
                self.server.delete(CONFIG_MAPS, name(child), namespace(child))
            else:
                self.server.update(CONFIG_MAPS, child | {"data": {"text": "spoilt"}})
            return
        space, chosen = rng.choice(SPACES), rng.choice(WIDGET_NAMES)
        known = self.widgets.now.get(f"{space}/{chosen}")
        spec = {"count": rng.randrange(4), "text": rng.choice(("a", "ü", "木"))}
        if known is None:
            self.trace.note("actor", "create", space, chosen)
            self.server.create(WIDGETS, _widget(space, chosen, spec))
        elif rng.random() < 0.6:  # noqa: PLR2004 - more changes than deletions
            self.trace.note("actor", "change", space, chosen)
            self.server.update(WIDGETS, known | {"spec": spec})
        else:
            self.trace.note("actor", "delete", space, chosen)
            self.server.delete(WIDGETS, chosen, space)
            if rng.random() < 0.3:  # noqa: PLR2004 - now and then under the same name at once
                self.server.create(WIDGETS, _widget(space, chosen, spec))

    def _spoil_new(self, change: Change) -> None:
        """A vandal in haste deletes a child that was made a moment ago, and that the operator may not have seen yet."""
        if change.old is None and self.rng.random() < self.haste:
            space, _, child = change.key.partition("/")
            self.clock.call_later(self.rng.random() * 0.5, lambda: self._delete(space, child))

    def _delete(self, space: str, child: str) -> None:
        if f"{space}/{child}" in self.children.now:
            self.trace.note("actor", "delete in haste", space, child)
            self.server.delete(CONFIG_MAPS, child, space)


def _widget(space: str, chosen: str, spec: Object) -> Object:
    return {"metadata": {"name": chosen, "namespace": space}, "spec": spec}
