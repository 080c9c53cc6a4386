"""A provider whose every call is timed and whose errors are counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.controllers.nodeclaim.metrics import NodeClaimMetrics
from kaito_controller.machinery.clock import Clock
from kaito_controller.providers.errors import InstanceNotFound
from kaito_controller.providers.protocol import CloudProvider, Instance, NodeClass


class MeasuredProvider:
    """The provider given, measured; behaves like it in every other respect."""

    def __init__(self, provider: CloudProvider, clock: Clock, metrics: NodeClaimMetrics) -> None:
        self._provider = provider
        self._clock = clock
        self._metrics = metrics

    @property
    def name(self) -> str:
        """The provider's name."""
        return self._provider.name

    @property
    def node_classes(self) -> tuple[NodeClass, ...]:
        """The provider's node classes."""
        return self._provider.node_classes

    async def create(self, claim: NodeClaim) -> Instance:
        """Launch the claim's instance."""
        async with self._measure("create"):
            return await self._provider.create(claim)

    async def delete(self, claim: NodeClaim) -> None:
        """Start deleting the claim's instance."""
        async with self._measure("delete"):
            await self._provider.delete(claim)

    async def get(self, provider_id: str) -> Instance:
        """Return one instance."""
        async with self._measure("get"):
            return await self._provider.get(provider_id)

    async def list(self) -> Sequence[Instance]:
        """Return every instance."""
        async with self._measure("list"):
            return await self._provider.list()

    async def close(self) -> None:
        """Close the provider."""
        await self._provider.close()

    @asynccontextmanager
    async def _measure(self, method: str) -> AsyncIterator[None]:
        began = self._clock.monotonic()
        try:
            yield
        except InstanceNotFound:
            raise
        except Exception as error:
            self._metrics.call_errors.labels(method, self.name, type(error).__name__).inc()
            raise
        finally:
            self._metrics.call_seconds.labels(method, self.name).observe(self._clock.monotonic() - began)
