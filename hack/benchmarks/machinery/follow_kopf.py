"""Measured process: a kopf operator with a handler of pod events that counts, or with handlers of changes.

kopf hands a handler the last of several quick events of one object, so what has come is told by the highest number
that the replay server wrote into its changes, not by counting calls.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import threading
import time
from importlib import import_module
from typing import Any

from benchmarks.machinery.conversation import questions, say

kopf: Any = import_module("kopf")
"""Without its types: it is installed where it is measured, not where types are checked."""

LOOK_S = 0.0005
SEQUENCE = "bench.kaito.local/sequence"
WANTED = {"bench.kaito.local/wanted": "yes"}


class Count:
    """Which pods have been seen, and the number of the latest change."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.changes = 0

    @property
    def told(self) -> int:
        """How many events there must have been."""
        return len(self.seen) + self.changes

    def take(self, meta: Any) -> None:
        """Note one event."""
        self.seen.add(meta["uid"])
        self.changes = max(self.changes, int(meta["annotations"][SEQUENCE]))


def registry_of(count: Count, server: str, *, changes: bool) -> Any:
    """The handlers: of raw events, or such as bring a label to where it is wanted."""
    registry = kopf.OperatorRegistry()

    def login(**_: Any) -> Any:
        return kopf.ConnectionInfo(server=server)

    async def take(meta: Any, **_: Any) -> None:
        count.take(meta)

    async def want(labels: Any, patch: Any, **_: Any) -> None:
        if any(labels.get(name) != value for name, value in WANTED.items()):
            patch.metadata.labels.update(WANTED)

    kopf.on.login(registry=registry)(login)
    kopf.on.event("", "v1", "pods", registry=registry)(take)
    for on in (kopf.on.resume, kopf.on.create, kopf.on.update) if changes else ():
        on("", "v1", "pods", registry=registry)(want)
    return registry


async def follow(server: str, pods: int, *, changes: bool) -> None:
    """Sync, say so, and answer questions until told to quit."""
    count = Count()
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    started, used = time.perf_counter(), time.process_time()
    running = asyncio.create_task(
        kopf.operator(
            registry=registry_of(count, server, changes=changes),
            settings=settings,
            clusterwide=True,
            standalone=True,
        )
    )

    async def reach(told: int) -> None:
        while count.told < told:
            if running.done():
                running.result()
                raise RuntimeError("kopf has ended by itself")
            await asyncio.sleep(LOOK_S)

    await reach(pods)
    say(synced_s=time.perf_counter() - started, cpu_s=time.process_time() - used, objects=len(count.seen))
    asked: asyncio.Queue[int | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for _, number in questions():
            loop.call_soon_threadsafe(asked.put_nowait, number)
        loop.call_soon_threadsafe(asked.put_nowait, None)

    threading.Thread(target=listen, daemon=True).start()
    while (number := await asked.get()) is not None:
        await reach(number)
        say(told=count.told)
    # Its own end would wait for every object's worker; the process has nothing to save.
    os._exit(0)


def main() -> None:
    """Run until told to quit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--pods", type=int, required=True)
    parser.add_argument("--changes", action="store_true", help="handlers of changes, which write")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    asyncio.run(follow(options.server, options.pods, changes=options.changes))


if __name__ == "__main__":
    main()
