"""The providers under test, each behind the same small handle.

The local provider makes real machines, so it joins where it can: root, containerd, and a cluster that is up
(``KAITO_TEST_LOCAL_CLUSTER`` names its cluster.json). Without these it is skipped, and says what is missing.
"""

from __future__ import annotations

import itertools
import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from attrs import frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NodeClaim, NodeClaimSpec, NodeClassReference, NodeRequirement, Taint
from kaito_controller.catalog.loader import load
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.providers.protocol import CloudProvider
from kaito_controller.providers.registry import ProviderContext, open_provider
from kaito_controller.testing.apiserver import serving
from kaito_controller.testing.cloud import FakeCloud

INSTANCE_TYPE = "Standard_NC6s_v3"
LOCAL_CLUSTER = "KAITO_TEST_LOCAL_CLUSTER"
_numbers = itertools.count(1)


@frozen(kw_only=True)
class Subject:
    """A provider under test: the provider itself, and the same cloud seen by a controller that was restarted."""

    provider: CloudProvider
    restarted: Callable[[], Awaitable[CloudProvider]]


def claim(name: str = "", *, instance_type: str = INSTANCE_TYPE) -> NodeClaim:
    """Return a claim as the API server would hold it, with a name and UID of its own."""
    requirement = NodeRequirement(key=keys.INSTANCE_TYPE, operator="In", values=(instance_type,))
    return NodeClaim(
        metadata=ObjectMeta(name=name or f"conf{next(_numbers)}", uid=str(uuid.uuid4()), generation=1),
        spec=NodeClaimSpec(
            node_class_ref=NodeClassReference(group="kaito.sh", kind="KaitoNodeClass", name="default"),
            requirements=(requirement,),
            taints=(Taint(key="sku", value="gpu", effect="NoSchedule"),),
        ),
    )


@pytest.fixture
def make_claim() -> Callable[..., NodeClaim]:
    """Makes claims."""
    return claim


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory):
    """A real API server's kubeconfig."""
    with serving(tmp_path_factory.mktemp("conformance")) as server:
        yield server.kubeconfig


@pytest.fixture(params=["fake", "kwok", "local"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each provider in turn."""
    if request.param == "fake":
        cloud = FakeCloud(RealClock())

        async def same() -> CloudProvider:
            return cloud

        yield Subject(provider=cloud, restarted=same)
        return
    options = _local_options() if request.param == "local" else {}
    path = Path(options["cluster"]).with_name("kubeconfig") if options else request.getfixturevalue("kubeconfig")
    async with AioTransport(kubeconfig=path) as transport:
        client, clock = Client(transport), RealClock()
        context = ProviderContext(
            client=client, cache=Cache(client, clock), clock=clock, catalog=load(), options=options
        )

        async def opened() -> CloudProvider:
            return open_provider(request.param, context)

        provider = await opened()
        yield Subject(provider=provider, restarted=opened)
        await provider.close()


def _local_options() -> dict[str, str]:
    cluster = os.environ.get(LOCAL_CLUSTER)
    if os.geteuid() != 0 or not cluster:
        pytest.skip(f"the local provider needs root and a running cluster whose cluster.json is in ${LOCAL_CLUSTER}")
    return {"cluster": cluster, "max-nodes": "8"}


def _local_kubeconfig(options: dict[str, str]) -> Path:
    return Path(json.loads(Path(options["cluster"]).read_text())["kubeconfig"])
