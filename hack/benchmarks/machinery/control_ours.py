"""Measured process: a controller of ours that wants one label on each pod."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from attrs import frozen

from benchmarks.machinery.conversation import log_to_stderr, questions, say
from kaito_controller.kube.core import PODS
from kaito_controller.kube.metadata import labels
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.controller.controller import Controller, Request, Result
from kaito_controller.machinery.controller.source import Watch, enqueue_self
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.loopback import write_kubeconfig

WANTED = {"bench.kaito.local/wanted": "yes"}
LOOK_S = 0.01


@frozen
class Labeller:
    """Brings the label to a pod that lacks it, once: until the cache shows our own write, it looks again later."""

    cache: Cache
    client: Client

    async def reconcile(self, request: Request) -> Result:
        """Look at one pod."""
        key = f"{request.namespace}/{request.name}"
        self.cache.require_fresh(PODS, key)
        pod = self.cache.informer(PODS).store.get(key)
        if pod is not None and WANTED.items() - labels(pod).items():
            patch = {"metadata": {"labels": WANTED}}
            self.cache.written(PODS, await self.client.merge_patch(PODS, request.name, request.namespace, patch))
        return Result()


async def control(server: str, pods: int) -> None:
    """Say so when every pod is known, and work until told to quit."""
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = write_kubeconfig(Path(folder) / "kubeconfig", server, user={})
        async with AioTransport(kubeconfig=kubeconfig) as transport:
            clock, metrics = RealClock(), Metrics()
            client = Client(transport)
            cache = Cache(client, clock, metrics)
            store = cache.informer(PODS).store
            stop = asyncio.Event()

            labeller = Labeller(cache, client)
            controller = Controller("bench", labeller, [Watch(PODS, enqueue_self)], cache, clock, metrics, workers=4)
            cache.start()
            running = asyncio.create_task(controller.run(stop))
            while len(store) < pods:  # noqa: ASYNC110 - nothing is measured here
                await asyncio.sleep(LOOK_S)
            say(objects=len(store))
            await asyncio.to_thread(list, questions())
            stop.set()
            await running
            await cache.stop()


def main() -> None:
    """Run until told to quit."""
    log_to_stderr()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True)
    parser.add_argument("--pods", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(control(options.server, options.pods))


if __name__ == "__main__":
    main()
