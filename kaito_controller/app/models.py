"""Where the operator learns of models that the catalogue does not have: hubs, asked beside the reconciles."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property
from random import Random
from typing import Final

from attrs import evolve

from kaito_controller.app.options import OptionsError
from kaito_controller.catalog.engines import Engine, load_engine
from kaito_controller.catalog.model import Preset
from kaito_controller.controllers.workspace.model import ModelLookup, pinned
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.sources.described import described
from kaito_controller.sources.errors import SourceError
from kaito_controller.sources.http import AioWeb
from kaito_controller.sources.hub import HubSettings
from kaito_controller.sources.model_reader import ModelKey, ModelReader
from kaito_controller.sources.resolver import Resolver
from kaito_controller.sources.secret_access import ServiceAccount, TokenSecrets

SERVICE_ACCOUNT: Final = ServiceAccount(name="kaito-controller", namespace="kaito-system")
"""Who the operator is in `config/rbac`; the Role that a condition prints is for it."""


class ModelLookups:
    """What the Workspace controller asks, and the part of the operator that reads the answers.

    Raises:
        OptionsError: the environment's HF_ENDPOINT or HF_TOKEN cannot be used.
    """

    name = "models"
    needs_leader = False

    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        rng: Random,
        environment: Mapping[str, str],
        operator: ServiceAccount = SERVICE_ACCOUNT,
    ) -> None:
        try:
            hub = HubSettings.from_environment(environment)
        except SourceError as error:
            raise OptionsError(str(error)) from error
        self._web = AioWeb()
        self._reader = ModelReader(web=self._web, secrets=TokenSecrets(client=client, operator=operator), hub=hub)
        self._resolver: Resolver[ModelKey, Preset, Request] = Resolver(
            read=self._read, wake=self._wake, clock=clock, rng=rng
        )
        self._add: Callable[[Request], None] | None = None

    def lookup(self, key: ModelKey, who: Request) -> ModelLookup:
        """What is known now; `who` is woken when there is more."""
        return self._resolver.lookup(key, who)

    async def run(self, stop: asyncio.Event) -> None:
        """Read what is asked for until told to stop."""
        async with self._web:
            await self._resolver.run(stop)

    async def feed(self, add: Callable[[Request], None]) -> None:
        """Wake Workspaces by this call, until cancelled."""
        self._add = add
        await asyncio.Event().wait()

    async def _read(self, key: ModelKey) -> Preset:
        preset = described(await self._reader.read(key), self._engine)
        # Once it is planned, a Workspace asks for the revision that was read (see `key_of`).
        self._resolver.learn(evolve(key, reference=pinned(preset)), preset)
        return preset

    def _wake(self, who: Request) -> None:
        if self._add is not None:
            self._add(who)

    @cached_property
    def _engine(self) -> Engine:
        return load_engine()
