"""Measured process: our informer of pods with two indexes, a predicate, and a queue with one worker.

The event loop is the one that KAITO_LOOP names, the decoder that of KAITO_JSON, and the garbage collector is tuned as
the operator tunes it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

from attrs import define, field

from benchmarks.machinery.conversation import log_to_stderr, questions, say
from kaito_controller.app.loop import loop_factory
from kaito_controller.kube.core import PODS
from kaito_controller.kube.metadata import Object, namespace
from kaito_controller.machinery.cache.event import Event
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.controller.predicates import resource_version_changed
from kaito_controller.machinery.controller.source import Watch, enqueue_self
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.process import garbage
from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.loopback import write_kubeconfig

PROBE_S = 0.001
MICROSECONDS = 1e6


@define
class Follower:
    """The informer, what it tells, and how late the event loop gets to its timers."""

    informer: Informer
    queue: WorkQueue[Request]
    told: int = 0
    worked: int = 0
    target: int = -1
    reached: asyncio.Event = field(factory=asyncio.Event)
    lags_s: list[float] = field(factory=list)
    _watch: Watch = field(factory=lambda: Watch(PODS, enqueue_self, predicates=(resource_version_changed,)))

    def take(self, event: Event) -> None:
        """The handler."""
        for request in self._watch.requests(event):
            self.queue.add(request, priority=-100 if event.initial else 0)
        self.told += 1
        if self.told == self.target:
            self.reached.set()

    async def work(self) -> None:
        """The worker."""
        while True:
            request = await self.queue.get()
            self.worked += 1
            self.queue.done(request)

    async def probe(self) -> None:
        """Ask for a timer of a millisecond again and again, and note by how much it comes late."""
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(PROBE_S)
            self.lags_s.append(time.perf_counter() - asked - PROBE_S)

    async def probed(self) -> None:
        """Wait until the probe has noted the stall that may just have ended."""
        count = len(self.lags_s)
        while len(self.lags_s) < count + 2:  # noqa: ASYNC110 - a millisecond or two
            await asyncio.sleep(PROBE_S)

    async def reach(self, told: int) -> None:
        """Wait until so many notifications have come."""
        self.target = told
        self.reached.clear()
        if self.told < told:
            await self.reached.wait()

    def after_decoding_us(self, count: int) -> float:
        """Microseconds from a decoded event to the queue: store, two indexes, predicate, enqueue."""
        known = self.informer.store.list()[:count]
        version = int(self.informer.store.resource_version)
        fresh = [
            {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version + at)}}
            for at, obj in enumerate(known, start=1)
        ]
        started = time.perf_counter()
        for obj in fresh:
            self.informer.changed(obj)
        return (time.perf_counter() - started) / len(fresh) * MICROSECONDS


async def follow(server: str, pods: int, *, watch_list: bool) -> None:
    """Sync, say so, and answer questions until told to quit."""
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = write_kubeconfig(Path(folder) / "kubeconfig", server, user={})
        async with AioTransport(kubeconfig=kubeconfig) as transport:
            await transport.open()
            clock, metrics = RealClock(), Metrics()
            informer = Informer(
                PODS,
                Client(transport),
                clock,
                metrics=metrics,
                rng=Random(1),  # noqa: S311 - spreads load, guards nothing
                watch_list=watch_list,
            )
            informer.add_index("namespace", _namespaces)
            informer.add_index("node", _nodes)
            follower = Follower(informer, WorkQueue(clock, name="bench", metrics=metrics))
            informer.add_handler(follower.take)
            tasks = [asyncio.create_task(follower.work()), asyncio.create_task(follower.probe())]
            started, used = time.perf_counter(), time.process_time()
            tasks.append(asyncio.create_task(informer.run()))
            await follower.reach(pods)
            synced_s, cpu_s = time.perf_counter() - started, time.process_time() - used
            await follower.probed()
            say(synced_s=synced_s, cpu_s=cpu_s, objects=len(informer.store), **lags(follower.lags_s))
            garbage.settle()
            await _answer(follower)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(follower: Follower) -> None:
    asked: asyncio.Queue[tuple[str, int] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        for question in questions():
            loop.call_soon_threadsafe(asked.put_nowait, question)
        loop.call_soon_threadsafe(asked.put_nowait, None)

    threading.Thread(target=listen, daemon=True).start()
    while (question := await asked.get()) is not None:
        word, number = question
        if word == "expect":
            follower.lags_s.clear()
            await follower.reach(number)
            await follower.probed()
            say(told=follower.told, worked=follower.worked, **lags(follower.lags_s))
        else:
            say(after_decoding_us=follower.after_decoding_us(number))


def lags(found: list[float]) -> dict[str, float]:
    """The median, the 99th percentile and the greatest of the lags, in milliseconds."""
    ordered = sorted(found) or [0.0]
    at = {"lag_p50_ms": 0.5, "lag_p99_ms": 0.99, "lag_max_ms": 1.0}
    return {
        name: round(ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000, 3) for name, share in at.items()
    }


def _namespaces(obj: Object) -> Iterable[str]:
    return (namespace(obj),)


def _nodes(obj: Object) -> Iterable[str]:
    return (obj["spec"].get("nodeName", ""),)


def main() -> None:
    """Run until told to quit."""
    log_to_stderr()
    garbage.prepare()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--pods", type=int, required=True)
    parser.add_argument("--lists", action="store_true", help="list instead of streaming")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory(os.environ)) as runner:
        runner.run(follow(options.server, options.pods, watch_list=not options.lists))


if __name__ == "__main__":
    main()
