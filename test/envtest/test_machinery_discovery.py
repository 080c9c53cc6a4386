"""Discovery of a real API server, aggregated and not, and definitions that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from kaito_controller.kube.core import DEPLOYMENTS, LEASES, NODES, PODS
from kaito_controller.machinery.client.discovery import Discovery
from kaito_controller.machinery.client.restmapper import NoMatchError, RESTMapper
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer

GROUP = "discovery.example"


class Plain(AioTransport):
    """A transport that asks for the form of discovery which every server has; it writes down what is asked."""

    def __init__(self, *, aggregated: bool, **options: Any) -> None:
        super().__init__(**options)
        self.aggregated = aggregated
        self.asked: list[str] = []

    async def request(self, method: str, path: str, **options: Any) -> Any:
        self.asked.append(path)
        if not self.aggregated:
            options.pop("accept", None)
        return await super().request(method, path, **options)


@pytest.fixture(params=[True, False], ids=["aggregated", "plain"])
async def transport(apiserver: APIServer, request: pytest.FixtureRequest) -> AsyncIterator[Plain]:
    async with Plain(aggregated=request.param, kubeconfig=apiserver.kubeconfig) as made:
        yield made


def definition(plural: str, versions: Mapping[str, bool], scope: str = "Namespaced") -> dict[str, Any]:
    """A resource definition; `versions` says which are served."""
    schema = {"openAPIV3Schema": {"type": "object"}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"plural": plural, "kind": plural.removesuffix("s").capitalize()},
            "scope": scope,
            "versions": [
                {"name": name, "served": served, "storage": name == "v1", "schema": schema}
                for name, served in versions.items()
            ],
        },
    }


async def eventually(find: Any) -> Any:
    """What is found once the server serves it: the document of discovery follows the definition by a moment."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await find()
            except NoMatchError:
                await asyncio.sleep(0.05)


@pytest.mark.scenario("DM1", "DM3")
async def test_the_kinds_of_the_server_are_found(transport: Plain) -> None:
    """Ours are as we wrote them down; with aggregation in two calls, the preferred version first."""
    mapper = RESTMapper(Discovery(transport))
    for known in (PODS, NODES, DEPLOYMENTS, LEASES):
        assert await mapper.resource_for(known.group, known.kind) == known
        assert await mapper.kind_for(known.group, known.plural) == known
    scalers = await mapper.resources_for("autoscaling", "HorizontalPodAutoscaler")
    assert scalers[0].version == "v2"
    if transport.aggregated:
        assert transport.asked == ["/api", "/apis"]


@pytest.mark.scenario("DM2", "DM3")
async def test_definitions_come_and_go(apiserver: APIServer, transport: Plain) -> None:
    """Installed after the first question: found. A version that is no longer served: gone, and the rest is found."""
    mapper = RESTMapper(Discovery(transport))
    await mapper.resource_for("", "Pod")
    with pytest.raises(NoMatchError):
        await mapper.resource_for(GROUP, "Widget")
    try:
        apiserver.apply(definition("widgets", {"v1": True, "v2": True}))
        found = await eventually(lambda: mapper.resource_for(GROUP, "Widget", "v2"))
        assert (found.plural, found.namespaced) == ("widgets", True)
        assert (await mapper.resource_for(GROUP, "Widget")).version == "v2"
        apiserver.apply(definition("gadgets", {"v1": True}, "Cluster"))
        assert not (await eventually(lambda: mapper.resource_for(GROUP, "Gadget"))).namespaced
        apiserver.apply(definition("widgets", {"v1": True, "v2": False}))

        async def without_v2() -> None:
            mapper.forget(GROUP)
            try:
                versions = [each.version for each in await mapper.resources_for(GROUP, "Widget")]
            except NoMatchError:
                versions = []
            if versions != ["v1"]:
                raise NoMatchError(f"still {versions}")

        await eventually(without_v2)
        assert (await mapper.resource_for(GROUP, "Widget")).version == "v1"
    finally:
        for plural in ("widgets", "gadgets"):
            apiserver.kubectl("delete", "crd", f"{plural}.{GROUP}", "--ignore-not-found")
