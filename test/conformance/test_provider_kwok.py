"""What is particular to simulated machines: the Node they are."""

from __future__ import annotations

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.catalog.loader import load
from kaito_controller.kube.core import NODES
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.providers.errors import CreateError, InstanceNotFound
from kaito_controller.providers.kwok.provider import KwokProvider


@pytest.fixture
async def client(kubeconfig):
    """A client of the API server."""
    async with AioTransport(kubeconfig=kubeconfig) as transport:
        yield Client(transport)


@pytest.fixture
def provider(client):
    """The provider."""
    return KwokProvider(client, RealClock(), load())


async def test_the_node_registers_as_a_kubelet_would(client, provider, make_claim):
    """The Node carries taints, labels, size and the mark by which kwok takes it over."""
    claim = make_claim()
    made = await provider.create(claim)
    node = await client.get(NODES, claim.metadata.name)
    assert node["spec"]["providerID"] == made.provider_id
    taints = [(taint["key"], taint["effect"]) for taint in node["spec"]["taints"]]
    assert {("sku", "NoSchedule"), (keys.TAINT_UNREGISTERED, "NoExecute")} <= set(taints)
    labels = node["metadata"]["labels"]
    assert (labels[keys.INSTANCE_TYPE], labels[keys.EMULATED_GPU]) == ("Standard_NC6s_v3", "true")
    assert node["metadata"]["annotations"]["kwok.x-k8s.io/node"] == "fake"
    assert node["status"]["allocatable"][keys.NVIDIA_GPU] == "1"
    await provider.delete(claim)


async def test_an_ended_machine_whose_node_is_held_counts_as_gone(client, provider, make_claim):
    """A finalizer may hold the Node; the machine is gone all the same, and no other takes its place meanwhile."""
    claim = make_claim()
    made = await provider.create(claim)
    held = {"metadata": {"finalizers": [keys.TERMINATION_FINALIZER]}}
    await client.merge_patch(NODES, claim.metadata.name, None, held)
    await provider.delete(claim)
    with pytest.raises(InstanceNotFound):
        await provider.get(made.provider_id)
    with pytest.raises(CreateError, match="is not this claim's machine"):
        await provider.create(make_claim(claim.metadata.name))
    await client.merge_patch(NODES, claim.metadata.name, None, {"metadata": {"finalizers": None}})


async def test_an_unknown_instance_type_is_explained(provider, make_claim):
    """The refusal names the field and the nearest types."""
    with pytest.raises(CreateError, match=r"spec\.requirements: .*Standard_NC6s_v3") as refused:
        await provider.create(make_claim(instance_type="Standard_NC6s_v4"))
    assert refused.value.reason == "InstanceTypeNotFound"
