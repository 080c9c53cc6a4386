"""Models that the catalogue does not have, against a real API server and a hub on loopback.

The real hub cannot be reached where tests run; `FakeHub` speaks what is asked of it here.
"""

from __future__ import annotations

import pytest

from kaito_controller.testing.loopback import listening
from kaito_controller.testing.scenario import operator
from kaito_controller.testing.sources.checkpoints import tiny_model
from kaito_controller.testing.sources.hub import FakeHub

NAME = "acme/tiny"


@pytest.fixture
async def hub(monkeypatch):
    """Serve a hub with one model, and let the operator ask it."""
    made = FakeHub(models={NAME: tiny_model()})
    async with listening(made.answer) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield made


async def test_any_model_of_a_hub_is_planned_and_served(apiserver, hands, hub):
    """Given a name that only the hub knows, the plan is made of its files, at the commit that was read, and kept to."""
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("any", inference={"preset": {"name": NAME}})
        planned = await hands.shows("any", "NodeClaimReady", "False")
        plan, commit = planned["status"]["plan"], hub.commit(NAME)
        assert (plan["model"], plan["revision"], plan["nodes"]) == (NAME, commit, 1)
        (claim,) = await hands.node_claims("any")
        await hands.provision(claim)
        workload = await hands.stateful_set("any")
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        (agent,) = workload["spec"]["template"]["spec"]["initContainers"]
        assert agent["args"] == ["--weights", f"hf://{NAME}@{commit}"]
        assert container["args"] == plan["args"]
    hub.models[NAME]["README.md"] = b"# Another commit"
    async with operator(apiserver.kubeconfig) as restarted:
        assert await restarted.settled() == 0
        assert (await hands.workspace("any"))["status"]["plan"]["revision"] == commit
        await hands.take_down("any", claim)


async def test_a_model_that_nobody_has_is_told_and_its_correction_goes_on(apiserver, hands, hub):
    """The hub's no stands as a condition; the corrected name is planned."""
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("wrong", inference={"preset": {"name": "acme/tin"}})
        await hands.shows("wrong", "ResourceReady", "False", "ModelUnusable")
        await hands.change_workspace("wrong", {"inference": {"preset": {"name": NAME}}})
        await hands.shows("wrong", "NodeClaimReady", "False")
        await hands.take_down("wrong")


async def test_a_hub_that_is_away_is_told(apiserver, hands, hub, monkeypatch):
    """And nothing else of the operator waits for it."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("away", inference={"preset": {"name": NAME}})
        await hands.shows("away", "ResourceReady", "False", "ModelUnreachable")
        await hands.given_workspace("beside")
        await hands.shows("beside", "NodeClaimReady", "False")
        await hands.take_down("away")
        await hands.take_down("beside")


async def test_a_gated_model_is_read_with_the_workspaces_own_token(apiserver, hands, hub):
    """Without one the condition says so. Who may read the Secret is for test_secret_access to prove."""
    hub.gated.add(NAME)
    secret = ("create", "secret", "generic", "mine", f"--from-literal=HF_TOKEN={hub.token}")
    apiserver.kubectl(*secret, "--namespace", hands.namespace)
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("closed", inference={"preset": {"name": NAME}})
        await hands.shows("closed", "ResourceReady", "False", "ModelAccessDenied")
        options = {"name": NAME, "presetOptions": {"modelAccessSecret": "mine"}}
        await hands.given_workspace("open", inference={"preset": options})
        await hands.shows("open", "NodeClaimReady", "False")
        await hands.take_down("closed")
        await hands.take_down("open")
