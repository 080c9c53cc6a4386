"""What a manager is given to run, and what it asks of each."""

from __future__ import annotations

import asyncio
from typing import Protocol, runtime_checkable


class Runnable(Protocol):
    """Something that runs as long as the operator does."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def needs_leader(self) -> bool:
        """Whether it may only run while this process leads."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Run until asked to stop, then finish what is begun. An exception stops the operator."""
        ...


@runtime_checkable
class WarmsUp(Protocol):
    """A part that needs the lead to run, and can prepare while another one has it (CT13)."""

    @property
    def warms_up(self) -> bool:
        """Whether it wants to."""
        ...

    async def warm_up(self, stop: asyncio.Event) -> None:
        """Prepare, until asked to stop."""
        ...


class Election(Protocol):
    """How this process comes to lead; `ElectionThread` is one."""

    async def acquire(self) -> None:
        """Return once this process leads."""
        ...

    async def release(self) -> None:
        """Stop to contend, and let another one lead."""
        ...


class Server(Protocol):
    """Something that listens as long as the operator runs."""

    async def start(self) -> int:
        """Listen, and return the port."""
        ...

    async def stop(self) -> None:
        """Stop listening."""
        ...
