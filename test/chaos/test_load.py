"""The API server is killed and restarted while objects come, change and go."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.recorder import config_map, converged, recording

NAMESPACE = "chaos"
KEYS = 40
WRITES = 1500
KILL_AT = (400, 900)
"""The API server is killed when so many writes were tried, so that it is always in the middle of them."""


class Load:
    """Writes one after the other, drawn by a seed; those that fail while the server is away are left out."""

    def __init__(self, client: Client, rng: Random) -> None:
        self._client = client
        self._rng = rng
        self.tried = 0
        self.failed = 0
        self.names: set[str] = set()
        self.progress = asyncio.Condition()

    async def run(self) -> None:
        """Make all writes."""
        for number in range(WRITES):
            name = f"object-{self._rng.randrange(KEYS)}"
            self.names.add(name)
            try:
                await self._write(name, number)
            except (ApiError, ApiConnectionError):
                self.failed += 1
            async with self.progress:
                self.tried += 1
                self.progress.notify_all()

    async def until(self, count: int) -> None:
        """Wait until that many writes were tried."""
        async with self.progress:
            await self.progress.wait_for(lambda: self.tried >= count)

    async def _write(self, name: str, number: int) -> None:
        if self._rng.random() < 0.25:
            await self._client.delete(CONFIG_MAPS, name, NAMESPACE)
            return
        await self._client.apply(CONFIG_MAPS, config_map(name, NAMESPACE, str(number)), field_manager="load")


@pytest.mark.slow
@pytest.mark.scenario("RF12", "SI13")
async def test_an_api_server_killed_under_load_costs_no_reconcile(server: APIServer) -> None:
    """A server that dies in the middle of writes.

    Given an operator and a steady load of creations, changes and deletions
    When the API server is killed and restarted twice in the middle of it
    Then cache and server agree afterwards, and every key was reconciled after its last change.
    """
    clock = RealClock()
    async with (
        AioTransport(kubeconfig=server.kubeconfig, clock=clock) as transport,
        recording(server.kubeconfig, NAMESPACE) as recorder,
    ):
        load = Load(Client(transport), Random(7))
        loading = asyncio.create_task(load.run())
        for count in KILL_AT:
            await load.until(count)
            await asyncio.to_thread(server.restart_apiserver, kill=True)
        await loading
        assert load.failed < WRITES / 2, "the load must have been a load"
        seen_and_gone = set(recorder.seen)
        await converged(server, recorder, gone=seen_and_gone)
