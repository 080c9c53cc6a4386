"""The provider kwok with the kwok program: simulated machines come and go without a hand of the test."""

from __future__ import annotations

import itertools

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.catalog.loader import load
from kaito_controller.kube.core import NODES, PODS
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.providers.kwok.provider import KwokProvider
from kaito_controller.providers.protocol import KAITO_NODE_CLASS
from kaito_controller.testing.provisioner import claim, provisioning, until

_numbers = itertools.count(1)


@pytest.fixture
async def provider(cluster):
    """The provider, with connections of its own."""
    async with AioTransport(kubeconfig=cluster.kubeconfig) as transport:
        yield KwokProvider(Client(transport), RealClock(), load())


@pytest.fixture
def name():
    return f"sim{next(_numbers)}"


async def test_a_simulated_node_runs_a_pod_and_goes(cluster, cluster_namespace, provider, name):
    """A claim becomes a Node on which a GPU pod runs; when the claim is deleted, everything goes."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "served", "namespace": cluster_namespace},
        "spec": {
            "nodeSelector": {keys.HOSTNAME: name},
            # The controller manager may see the pod bound before it sees that this taint is gone, and would evict it.
            "tolerations": [
                {"key": "sku", "operator": "Exists"},
                {"key": keys.TAINT_UNREGISTERED, "operator": "Exists", "tolerationSeconds": 60, "effect": "NoExecute"},
            ],
            "containers": [
                {"name": "main", "image": "kaito.local/pause:1", "resources": {"limits": {keys.NVIDIA_GPU: "1"}}}
            ],
        },
    }
    async with provisioning(cluster.kubeconfig, provider) as rig:
        await rig.client.create(PODS, pod)
        await rig.create(claim(name, KAITO_NODE_CLASS))
        ready = await rig.shows(name, "Ready", "True")
        assert (ready.status.node_name, ready.status.capacity[keys.NVIDIA_GPU]) == (name, "1")

        async def runs():
            found = await rig.client.get(PODS, "served", cluster_namespace)
            return found["status"].get("phase") == "Running" and found["spec"].get("nodeName") == name

        await until("the pod runs on the simulated node", runs, patience_s=40)
        await rig.client.delete(NODE_CLAIMS, name)
        await rig.gone(NODE_CLAIMS, name)
        await rig.gone(NODES, name)
        await rig.gone(PODS, "served", cluster_namespace)


async def test_kubectl_shows_and_deletes_a_claim(cluster, provider, name):
    """Kubectl get shows type, node and readiness; kubectl delete node takes the claim with it; describe tells it."""
    async with provisioning(cluster.kubeconfig, provider) as rig:
        await rig.create(claim(name, KAITO_NODE_CLASS))
        await rig.shows(name, "Ready", "True")
        header, row = cluster.kubectl("get", "nodeclaims", name).splitlines()
        columns = dict(zip(header.split(), row.split(), strict=False))
        assert columns["TYPE"] == "Standard_NC6s_v3"
        assert name in row.split()[1:]
        assert "True" in row.split()

        async def told():
            events = cluster.get("events.events.k8s.io", "--all-namespaces", f"--field-selector=regarding.name={name}")
            return {"Launched", "Registered", "Initialized", "Ready"} <= {one["reason"] for one in events["items"]}

        await until("the story is told in events", told)
        cluster.kubectl("delete", "node", name, "--wait=false")
        await rig.gone(NODE_CLAIMS, name)
        await rig.gone(NODES, name)
