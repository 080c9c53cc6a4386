"""A reflector on a scripted server, and a sink that writes down what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from attrs import define, field

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key, resource_version
from kaito_controller.machinery.backoff import Backoff
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.reflector.reflector import Reflector
from kaito_controller.testing.clock import cancelled
from kaito_controller.testing.transport import ScriptedTransport


@define
class Notes:
    """A sink that keeps the version of every object, and the order in which it was told of things.

    Attributes:
        told: ``("replace", version)``, ``("changed", key)``, ``("deleted", key)``, ``("bookmark", version)``.
        held: the version of each object by its key.
    """

    told: list[tuple[str, str]] = field(factory=list)
    held: dict[str, str] = field(factory=dict)

    def keep(self, obj: Object) -> Object:
        """All of it."""
        return obj

    def replace(self, objects: Sequence[Object], version: str) -> None:
        """These are all objects."""
        self.held = {key(item): resource_version(item) for item in objects}
        self.told.append(("replace", version))

    def changed(self, obj: Object) -> None:
        """Added or modified."""
        self.held[key(obj)] = resource_version(obj)
        self.told.append(("changed", key(obj)))

    def deleted(self, obj: Object) -> None:
        """Gone."""
        self.held.pop(key(obj), None)
        self.told.append(("deleted", key(obj)))

    def bookmark(self, version: str) -> None:
        """Nothing else happened."""
        self.told.append(("bookmark", version))

    def of(self, *kinds: str) -> list[tuple[str, str]]:
        """What was told of those kinds only."""
        return [entry for entry in self.told if entry[0] in kinds]


def steady(clock: Clock) -> Backoff:
    """The reflector's own waits without their jitter: 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30 ... seconds."""
    return Backoff(clock=clock, rng=Random(1), jitter=0.0)  # noqa: S311 - spreads load, guards nothing


@asynccontextmanager
async def reflecting(
    clock: Clock, transport: ScriptedTransport, sink: Notes | None = None, **options: Any
) -> AsyncIterator[tuple[Notes, Reflector]]:
    """Run a reflector of ConfigMaps with steady waits; in the end it is cancelled and must have closed its streams."""
    notes = Notes() if sink is None else sink
    made: dict[str, Any] = {"resource": CONFIG_MAPS, "backoff": steady(clock), "rng": Random(1)}  # noqa: S311
    reflector = Reflector(client=Client(transport), sink=notes, clock=clock, **made | options)
    task = asyncio.create_task(reflector.run())
    try:
        yield notes, reflector
    finally:
        await cancelled(task)
        assert transport.open_streams == 0, "a stream is left open"
