"""Adapters of a Workspace against a real API server: the list, the pods, and what the user reads.

The test plays the StatefulSet controller, the kubelet and the agent. The API server proxies to no loopback address, and
tests listen on no other, so what the agent says is handed to the operator's reader behind the request; that the request
itself is one that the API server understands is a test of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.app.reports import PodReports
from kaito_controller.kube.core import CONFIG_MAPS, PODS
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.provisioner import until
from kaito_controller.testing.scenario import message_of, operator

PRESET = {"name": "phi-4-mini-instruct"}


def adapter(name: str, **source: Any) -> dict[str, Any]:
    return {"source": {"name": name, **(source or {"image": f"reg.example/{name}:1"})}}


def told(name: str, state: str = "Loaded", **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "source": f"reg.example/{name}:1", **more}


async def serving(hands, name: str, *adapters: Mapping[str, Any]) -> tuple[Any, str]:
    """A Workspace whose pod runs; returns the claim and where its agent is asked."""
    await hands.given_workspace(name, inference={"preset": PRESET, "adapters": list(adapters)})
    (claim,) = await hands.node_claims(name)
    node = await hands.provision(claim)
    await hands.stateful_set(name)
    state = {"state": {"running": {}}, "ready": True, "restartCount": 0, "image": "i", "imageID": ""}
    status = {"phase": "Running", "initContainerStatuses": [{"name": contract.AGENT_CONTAINER, **state}]}
    await hands.pod(name, node_name=node["metadata"]["name"], status=status)
    await hands.serve(name)
    await hands.shows(name, "InferenceReady", "True")
    return claim, f"{PODS.path(hands.namespace, f'{name}-0')}:{contract.AGENT_PORT}/proxy{contract.REPORT_PATH}"


async def down(hands, name: str, claim: Any) -> None:
    await hands.client.delete(WORKSPACES, name, hands.namespace)
    await hands.end_pod(name)
    await hands.node_claims(name, 0)
    await hands.release(claim)
    await hands.gone(WORKSPACES, name, hands.namespace)


async def wanted(hands, name: str) -> list[str]:
    found = await hands.find(CONFIG_MAPS, f"{name}-adapters", hands.namespace)
    return [one["name"] for one in json.loads(found["data"]["adapters.json"])["adapters"]] if found else []


async def test_adapters_from_apply_to_loaded_and_away_again(apiserver, hands, agent):
    """Given adapters, the list is there and the pod is touched; each state that the agent tells is shown."""
    async with operator(apiserver.kubeconfig) as running:
        claim, path = await serving(hands, "wardrobe", adapter("hat"))
        assert await wanted(hands, "wardrobe") == ["hat"]
        await hands.shows("wardrobe", "AdaptersReady", "False", "AdaptersPending")
        agent[path] = {"adapters": [told("hat", "Loading")]}
        agent[path] = {"adapters": [told("hat", rank=8, digest="sha256:1")]}
        shown = await hands.shows("wardrobe", "AdaptersReady", "True", "AdaptersLoaded")
        assert shown["status"]["adapters"] == [told("hat", rank=8, digest="sha256:1")]
        assert "hat is loaded" in await hands.told("wardrobe", "AdapterLoaded")
        await hands.shows("wardrobe", "SpecHonored", "True")

        # A second one, by another image: no pod restarts, and the pod hears of the list.
        before = await hands.stateful_set("wardrobe")
        pod = await hands.client.get(PODS, "wardrobe-0", hands.namespace)
        two = {"inference": {"adapters": [adapter("hat"), adapter("coat")]}}
        await hands.change_workspace("wardrobe", two)

        async def touched() -> bool:
            now = await hands.client.get(PODS, "wardrobe-0", hands.namespace)
            return now["metadata"]["annotations"] != pod["metadata"].get("annotations")

        await until("the pod is touched", touched)
        assert await wanted(hands, "wardrobe") == ["hat", "coat"]
        after = await hands.stateful_set("wardrobe")
        assert after["spec"]["template"] == before["spec"]["template"]
        failed = told("coat", "Failed", reason="FetchDenied", message="the registry wants a password")
        agent[path] = {"adapters": [told("hat"), failed]}
        shown = await hands.shows("wardrobe", "AdaptersReady", "False", "AdaptersFailed")
        assert "the registry wants a password" in message_of(shown, "AdaptersReady")
        assert "the registry wants a password" in await hands.told("wardrobe", "AdapterFailed")
        await hands.shows("wardrobe", "InferenceReady", "True")

        # Somebody empties the list: it is put right.
        name = "wardrobe-adapters"
        await hands.client.merge_patch(CONFIG_MAPS, name, hands.namespace, {"data": {"adapters.json": "{}"}})

        async def repaired() -> bool:
            found = await hands.client.get(CONFIG_MAPS, name, hands.namespace)
            return "hat" in found["data"]["adapters.json"]

        await until("the list is as wanted", repaired)

        # The last ones go, and no pod restarts for that either.
        await hands.change_workspace("wardrobe", {"inference": {"adapters": None}})
        await hands.shows("wardrobe", "AdaptersReady", "")
        assert await wanted(hands, "wardrobe") == []
        await running.settled()
        last = await hands.stateful_set("wardrobe")
        assert last["spec"]["template"] == before["spec"]["template"]
        await down(hands, "wardrobe", claim)


async def test_a_rank_above_the_highest_is_a_rollout_that_the_status_tells(apiserver, hands, agent):
    """Given an engine without LoRA, then the first adapter restarts it, and so does a rank that comes to light."""
    async with operator(apiserver.kubeconfig) as running:
        claim, path = await serving(hands, "tall")
        await hands.change_workspace("tall", {"inference": {"adapters": [adapter("hat")]}})
        shown = await hands.shows("tall", "AdaptersReady", "False", "AdaptersPending")
        assert "switched on" in shown["status"]["adapters"][0]["message"]
        assert (
            "--max-lora-rank" in (await hands.stateful_set("tall"))["spec"]["template"]["spec"]["containers"][0]["args"]
        )
        await hands.serve("tall")
        await hands.shows("tall", "InferenceReady", "True")
        agent[path] = {"adapters": [told("hat", "Failed", reason="RankTooHigh", message="too high", rank=60)]}

        async def raised() -> bool:
            found = await hands.stateful_set("tall")
            return "64" in found["spec"]["template"]["spec"]["containers"][0]["args"]

        await until("the engine is started with room for rank 64", raised)

        async def told_of() -> bool:
            shown = (await hands.workspace("tall"))["status"]["adapters"][0]
            return (shown["state"], shown["reason"], shown.get("rank")) == ("Pending", "EngineRestart", 60)

        # The status is written after the StatefulSet.
        await until("the status tells of the restart and of the rank", told_of)
        agent[path] = {"adapters": [told("hat", rank=60)]}
        await hands.serve("tall")
        await hands.shows("tall", "AdaptersReady", "True")
        before = await running.settled()
    async with operator(apiserver.kubeconfig) as restarted:
        # It learns the rank from the status, and the states from the agent: nothing is written.
        assert await restarted.settled() == 0, before
        await down(hands, "tall", claim)


async def test_a_strangers_config_map_of_the_name_was_deleted(apiserver, hands, agent, namespace):
    """Labelled as ours are. Adapters in whose way it is are said to be, and the model is served without waiting."""
    name = "taken-adapters"
    async with operator(apiserver.kubeconfig) as running:
        head = {"name": name, "namespace": namespace, "labels": {keys.WORKSPACE_NAME: "taken"}}
        theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {"their": "own"}}
        await hands.client.create(CONFIG_MAPS, theirs)
        claim, _ = await serving(hands, "taken")
        await running.settled()
        assert (await hands.client.get(CONFIG_MAPS, name, namespace))["data"] == {"their": "own"}

        await hands.change_workspace("taken", {"inference": {"adapters": [adapter("hat")]}})
        shown = await hands.shows("taken", "AdaptersReady", "False", "WorkloadConflict")
        assert f"ConfigMap {namespace}/{name} exists already" in message_of(shown, "AdaptersReady")

        async def switched_on() -> bool:
            found = await hands.stateful_set("taken")
            return "--enable-lora" in found["spec"]["template"]["spec"]["containers"][0]["args"]

        await until("the engine is started with adapters switched on", switched_on)
        assert (await hands.client.get(CONFIG_MAPS, name, namespace))["data"] == {"their": "own"}
        await down(hands, "taken", claim)
        await hands.remove(CONFIG_MAPS, name, namespace)


async def test_the_api_server_understands_how_a_pod_is_asked(apiserver, hands, namespace):
    """It refuses the address, as it does every loopback one, and so it has understood all that comes before."""
    async with operator(apiserver.kubeconfig):
        claim, path = await serving(hands, "asked", adapter("hat"))
        status = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
        await hands.client.merge_patch(PODS, "asked-0", namespace, status, subresource="status")
        reports = PodReports(client=hands.client, clock=None)
        with pytest.raises(ApiError, match="not allowed"):
            await reports._bytes(path)
        await down(hands, "asked", claim)
