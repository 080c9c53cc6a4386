"""Adapters of a Workspace: what restarts pods and what does not, and what the user reads of each."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from inference_server import contract
from inference_server.agent.decisions import Known, Situation
from inference_server.agent.report import compose
from inference_server.agent.wanted import parse
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import events
from kaito_controller.controllers.workspace.agent_report import entries_of
from kaito_controller.controllers.workspace.reports import MOVING_S, SETTLED_S, following
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.verdict import Blocked, Outcome, StepResult

RAW: dict[str, Any] = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "Workspace",
    "metadata": {"name": "phi", "namespace": "default", "uid": "u1", "generation": 1},
    "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": "phi"}}},
    "inference": {"preset": {"name": "phi-4-mini-instruct"}},
}
OWNER = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "phi", "uid": "s1", "controller": True}
POD = {
    "metadata": {"name": "phi-0", "namespace": "default", "uid": "p1", "ownerReferences": [OWNER]},
    "status": {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [{"name": "agent", "state": {"running": {}}}],
    },
}


def workspace(*adapters: Mapping[str, Any], status: Mapping[str, Any] | None = None, config: str = "") -> Any:
    raw = copy.deepcopy(RAW)
    raw["inference"]["adapters"] = [dict(one) for one in adapters]
    if config:
        raw["inference"]["config"] = config
    if status is not None:
        raw["status"] = dict(status)
    return raw


def adapter(name: str = "a", strength: str | None = None, **source: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"source": {"name": name, **(source or {"image": f"reg.example/{name}:1"})}}
    return made if strength is None else {**made, "strength": strength}


def config(**vllm: Any) -> dict[str, Any]:
    return {"data": {"inference_config.yaml": json.dumps({"vllm": vllm})}}


def live(plan: ServingPlan, *, rolled_out: bool = True) -> dict[str, Any]:
    """The StatefulSet as applied, with every pod made from it."""
    made = copy.deepcopy(plan.stateful_set)
    made["metadata"] |= {"generation": 2, "uid": "s1"}
    count = plan.node_count if rolled_out else 0
    made["status"] = {"observedGeneration": 2, "updatedReplicas": count, "readyReplicas": count}
    return made


def template(plan: ServingPlan) -> Any:
    return plan.stateful_set["spec"]["template"]


def engine_args(plan: ServingPlan) -> str:
    return " ".join(template(plan)["spec"]["containers"][0]["args"])


def wanted(plan: ServingPlan) -> Any:
    assert plan.wanted_adapters is not None
    return json.loads(plan.wanted_adapters["data"]["adapters.json"])["adapters"]


def report(*entries: Mapping[str, Any]) -> dict[str, Any]:
    return {"phi-0": {"adapters": [dict(one) for one in entries]}}


def told(name: str = "a", state: str = "Loaded", **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "source": f"reg.example/{name}:1", "rank": 8, "digest": "sha256:1", **more}


def condition(status: Mapping[str, Any], name: str) -> Any:
    return next((one for one in status["conditions"] if one["type"] == name), None)


def test_a_workspace_without_adapters_has_no_lora_and_no_agent(plan):
    made = plan(workspace())
    assert "--enable-lora" not in engine_args(made)
    assert len(template(made)["spec"]["containers"]) == 1
    assert made.wanted_adapters is None
    assert "annotations" not in template(made)["metadata"]


def test_the_first_adapter_brings_lora_an_agent_and_the_list(plan):
    """The plan counts the slots that the engine is told to make."""
    made = plan(workspace(adapter(strength="0.5", image="reg.example/a:1", imagePullSecrets=["s"])))
    assert "--enable-lora --max-cpu-loras 16 --max-lora-rank 16 --max-loras 4" in engine_args(made)
    (engine,), (agent,) = template(made)["spec"]["containers"], template(made)["spec"]["initContainers"]
    assert {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"} in engine["env"]
    mounts = {mount["mountPath"]: mount for mount in engine["volumeMounts"]}
    assert mounts["/mnt/adapter"]["readOnly"]
    assert "/mnt/secrets/s" not in mounts, "the engine gets no credentials"
    assert agent["command"] == ["python3", "-m", "inference_server.agent"]
    assert "/mnt/secrets/s" in {mount["mountPath"] for mount in agent["volumeMounts"]}
    (secret,) = [one["secret"] for one in template(made)["spec"]["volumes"] if "secret" in one]
    shown = [one["key"] for one in secret["items"]]
    assert (secret["secretName"], shown) == ("s", [".dockerconfigjson", "ca.crt"]), "nothing else of any Secret"
    assert agent["securityContext"] == engine["securityContext"]
    assert wanted(made) == [{"name": "a", "image": "reg.example/a:1", "pullSecrets": ["s"], "strength": "0.5"}]
    assert "LoRA adapters" in str(made.figures)
    assert "LoRA adapters" not in str(plan(workspace()).figures)


def test_every_kind_of_source_reaches_the_agent(plan):
    volume = {"persistentVolumeClaim": {"claimName": "c"}}
    made = plan(workspace(adapter(volumeSource=volume), adapter("h", urls=["hf://org/model@main"])))
    assert wanted(made) == [{"name": "a", "folder": "/mnt/adapter-volumes/a"}, {"name": "h", "hub": "org/model@main"}]
    assert {"name": "adapter-volume-a", **volume} in template(made)["spec"]["volumes"]


@pytest.mark.parametrize(
    "after",
    [
        [adapter("b")],
        [adapter("a"), adapter("b")],
        [adapter(strength="0.2")],
        [adapter("a", urls=["hf://org/model"])],
        [adapter(image="reg.example/other:2", imagePullSecrets=["s"])],
        [],
    ],
)
def test_what_restarts_no_pod(plan, after):
    """Adapters by image or hub with Secrets that pods have, other strengths, and the last one's removal."""
    before = plan(workspace(adapter(image="reg.example/a:1", imagePullSecrets=["s"])))
    made = plan(workspace(*after), stateful_set=live(before))
    assert template(made) == template(before)
    assert [one["name"] for one in wanted(made)] == [one["source"]["name"] for one in after]


@pytest.mark.parametrize(
    "after",
    [
        [adapter(), adapter("b", image="reg.example/b:1", imagePullSecrets=["new"])],
        [adapter(), adapter("v", volumeSource={"persistentVolumeClaim": {"claimName": "c"}})],
    ],
)
def test_what_needs_other_pods(plan, after):
    """A Secret or a volume that pods do not have."""
    before = plan(workspace(adapter()))
    assert template(plan(workspace(*after), stateful_set=live(before))) != template(before)


def test_what_is_left_over_goes_with_the_next_restart(plan):
    """A Secret that nobody needs any more is kept while pods run, and dropped once other pods are made."""
    before = plan(workspace(adapter(image="reg.example/a:1", imagePullSecrets=["s"])))
    made = plan(workspace(adapter()), stateful_set=live(before))
    assert template(made) == template(before)
    made = plan(workspace(adapter(), config="c"), stateful_set=live(before), config=config())
    assert "adapter-secret-0" not in str(template(made))


def test_a_rank_that_was_learnt_is_made_room_for(plan, project):
    """First the report raises it, at once; then the status keeps it, also for an operator that starts anew."""
    before = plan(workspace(adapter()))
    high = report(told(state="Failed", reason="RankTooHigh", message="…", rank=60))
    after = plan(workspace(adapter()), stateful_set=live(before), reports=high)
    assert "--max-lora-rank 64" in engine_args(after)
    (entry,) = project(workspace(adapter()), stateful_set=live(before), reports=high)["adapters"]
    assert (entry["state"], entry["reason"], entry["rank"]) == ("Pending", "EngineRestart", 60)
    assert entry["message"] == "the engine restarts with adapters switched on, for ranks up to 64"
    kept = {"adapters": [told(state="Pending", rank=60)]}
    assert "--max-lora-rank 64" in engine_args(plan(workspace(adapter(), status=kept)))
    replaced = plan(workspace(adapter(image="reg.example/other:1"), status=kept))
    assert "--max-lora-rank 16" in engine_args(replaced), "the rank was that of other content"


def test_the_users_rank_wins_and_the_remedy_names_it(plan, project):
    raw = workspace(adapter(), config="tuned")
    found = config(**{"max-lora-rank": 32, "max-loras": 2})
    made = plan(raw, config=found)
    assert "--max-cpu-loras 16 --max-lora-rank 32 --max-loras 2" in engine_args(made)
    high = report(told(state="Failed", reason="RankTooHigh", message="…", rank=64))
    status = project(raw, config=found, stateful_set=live(made), reports=high)
    (entry,) = status["adapters"]
    assert (entry["state"], entry["reason"]) == ("Failed", "RankTooHigh")
    assert "max-lora-rank in the ConfigMap tuned is 32; raise it to 64" in entry["message"]


def test_a_rank_that_no_engine_serves_is_failed(plan, project):
    made = plan(workspace(adapter()))
    high = report(told(state="Failed", reason="RankTooHigh", message="…", rank=1024))
    status = project(workspace(adapter()), stateful_set=live(made), reports=high)
    assert status["adapters"][0]["state"] == "Failed"
    assert "up to 512" in status["adapters"][0]["message"]


def test_adapters_that_do_not_fit_leave_the_model_served(plan, project):
    """Ranks of 512 in four slots would take a second node; rank 16 stays, and the status says why."""
    raw = workspace(adapter(), status={"adapters": [told(state="Failed", rank=500)]})
    raw["inference"]["preset"]["name"] = "qwen2.5-coder-32b-instruct"
    raw["resource"]["instanceType"] = "Standard_NC24ads_A100_v4"
    made = plan(raw)
    assert isinstance(made, ServingPlan)
    assert "--max-lora-rank 16" in engine_args(made)
    assert made.node_count == 1
    assert "does not fit beside the model: it takes 2 nodes instead of 1" in made.room_note
    high = report(told(state="Failed", reason="RankTooHigh", message="…", rank=500))
    (entry,) = project(raw, stateful_set=live(made), reports=high)["adapters"]
    assert entry["state"] == "Failed"
    assert "does not fit beside the model" in entry["message"]


def test_the_status_follows_the_report(plan, project):
    made = plan(workspace(adapter(), adapter("b")))
    raw = workspace(adapter(), adapter("b"))
    found = report(told(), told("b", state="Failed", reason="FetchDenied", message="no leave"))
    status = project(raw, stateful_set=live(made), reports=found)
    assert status["adapters"] == [
        told(),
        told("b", state="Failed", reason="FetchDenied", message="no leave"),
    ]
    ready = condition(status, "AdaptersReady")
    assert (ready["status"], ready["reason"]) == ("False", "AdaptersFailed")
    assert ready["message"] == "b: FetchDenied: no leave"
    both = project(raw, stateful_set=live(made), reports=report(told(), told("b")))
    assert condition(both, "AdaptersReady")["reason"] == "AdaptersLoaded"
    some = project(raw, stateful_set=live(made), reports=report(told(), told("b", state="Loading")))
    assert condition(some, "AdaptersReady")["reason"] == "AdaptersPending"
    assert "1 of 2 adapters are loaded; b is Loading" in condition(some, "AdaptersReady")["message"]


def test_adapters_do_not_keep_inference_from_being_ready(plan, project):
    made = plan(workspace(adapter()))
    status = project(workspace(adapter()), stateful_set=live(made), reports=report(told(state="Failed", reason="X")))
    assert condition(status, "InferenceReady")["status"] == "True"
    assert condition(status, "SpecHonored")["status"] == "True"


def test_an_operator_that_has_just_started_keeps_what_was_told(plan, project):
    """Nothing flickers until the agent has been heard again."""
    made = plan(workspace(adapter()))
    raw = workspace(adapter(), status={"adapters": [told()]})
    assert project(raw, stateful_set=live(made))["adapters"] == [told()]
    fresh = project(workspace(adapter()), stateful_set=live(made))["adapters"]
    assert (fresh[0]["state"], fresh[0]["reason"]) == ("Pending", "NoReport")


def test_adapters_of_a_pod_that_went_away_were_said_to_be_loaded(plan, project):
    """The next one has not started yet, so nobody has told otherwise."""
    made = plan(workspace(adapter()))
    gone = live(made)
    gone["status"]["readyReplicas"] = 0
    status = project(workspace(adapter(), status={"adapters": [told()]}), stateful_set=gone)
    assert (status["adapters"][0]["state"], status["adapters"][0]["reason"]) == ("Pending", "NoReport")
    assert condition(status, "AdaptersReady")["status"] == "False"


def test_a_list_that_cannot_be_written_is_told(project, plan):
    """Serving goes on, and the condition says whose ConfigMap is in the way."""
    refusal = Blocked(reason=Reason.WORKLOAD_CONFLICT, message="ConfigMap default/phi-adapters exists already")
    outcome = Outcome(steps={"adapters": StepResult(refusal=refusal, error=Exception("x"), goes_on=True)})
    made = plan(workspace(adapter()))
    status = project(workspace(adapter()), stateful_set=live(made), reports=report(told()), outcome=outcome)
    ready = condition(status, "AdaptersReady")
    assert (ready["status"], ready["reason"]) == ("False", "WorkloadConflict")
    assert condition(status, "InferenceReady")["status"] == "True"


def test_a_report_of_the_earlier_source_does_not_count(plan, project):
    made = plan(workspace(adapter(image="reg.example/a:2")))
    status = project(workspace(adapter(image="reg.example/a:2")), stateful_set=live(made), reports=report(told()))
    assert (status["adapters"][0]["state"], status["adapters"][0].get("digest")) == ("Pending", None)


def test_an_image_whose_name_goes_on_was_taken_for_the_one_that_is_wanted(plan, project):
    """`a:10` is loaded and `a:1` is wanted now."""
    made = plan(workspace(adapter()))
    found = report(told(source="reg.example/a:10"))
    (entry,) = project(workspace(adapter()), stateful_set=live(made), reports=found)["adapters"]
    assert (entry["state"], entry.get("digest")) == ("Pending", None)


def test_an_adapter_with_a_long_source_was_never_loaded(plan, project):
    """The report cut it, and then it was that of no adapter that is wanted."""
    long = "reg.example/" + "/".join(["folder"] * 60) + ":1"
    entry = {"name": "a", "image": long}
    wanted_one = parse(json.dumps({"adapters": [entry]}).encode()).adapters["a"]
    said = compose(Situation(known={"a": Known(wanted=wanted_one)}, listing=None, cache="/mnt/adapter"), {}, "")
    made = plan(workspace(adapter(image=long)))
    said["adapters"][0] |= {"state": "Loaded"}
    status = project(workspace(adapter(image=long)), stateful_set=live(made), reports={"phi-0": said})
    assert (status["adapters"][0]["state"], status["adapters"][0]["source"]) == ("Loaded", long)


def test_pods_that_are_still_the_earlier_ones_are_said_to_restart(plan, project):
    plain = plan(workspace())
    status = project(workspace(adapter()), stateful_set=live(plain))
    (entry,) = status["adapters"]
    assert (entry["state"], entry["reason"]) == ("Pending", "EngineRestart")
    assert entry["message"] == "the engine restarts with adapters switched on, for ranks up to 16"


def test_the_condition_goes_with_the_last_adapter(plan, project):
    made = plan(workspace(adapter()))
    before = project(workspace(adapter()), stateful_set=live(made), reports=report(told()))
    raw = workspace(status=before)
    after = project(raw, stateful_set=live(made))
    assert condition(after, "AdaptersReady") is None
    assert after["adapters"] == []


def test_events_tell_each_load_and_failure_once():
    def status(*entries: Mapping[str, Any]) -> Any:
        return {"status": {"adapters": list(entries)}}

    loaded = events.told_by(status(), status(told()))
    assert [(one.reason, one.warning) for one in loaded] == [(Reason.ADAPTER_LOADED, False)]
    assert "sha256:1" in loaded[0].note
    assert not events.told_by(status(told()), status(told()))
    assert [one.reason for one in events.told_by(status(told()), status(told(digest="sha256:2")))] == [
        Reason.ADAPTER_LOADED
    ]
    failed = told(state="Failed", reason="FetchDenied", message="no leave")
    (notice,) = events.told_by(status(told()), status(failed))
    assert (notice.reason, notice.warning) == (Reason.ADAPTER_FAILED, True)
    assert not events.told_by(status(failed), status({**failed, "message": "still none"}))


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"adapters": 3},
        {"adapters": [3, {}, {"name": 5}, {"name": "a"}, {"name": "a", "state": "Dancing"}]},
        {"adapters": [{"name": "", "state": "Loaded"}, {"name": "x" * 300, "state": "Loaded"}]},
        {"adapters": [{"name": "a", "state": []}, {"name": "a", "state": {}}, {"name": [], "state": "Loaded"}]},
    ],
)
def test_reports_without_form_say_nothing(raw):
    assert not entries_of(raw)


def test_what_a_report_says_is_cut_to_what_a_status_may_hold():
    (found,) = entries_of({"adapters": [told(message="m\n" * 9999, reason="not one", digest="<x>", rank=-1)]})
    assert len(found.message) <= 512
    assert found.message.isprintable()
    assert (found.reason, found.digest, found.rank) == ("", "", 0)
    assert len(entries_of({"adapters": [told(f"n{number}") for number in range(1000)]})) <= 20


def test_whom_the_operator_asks_and_how_often(plan, snapshot):
    """The pod with the API, while adapters are wanted; often while they move."""
    made = plan(workspace(adapter()))
    seen = snapshot(workspace(adapter()), pods=(POD,), stateful_set=live(made))
    (target,), period = following(made, seen)
    assert (target.name, target.uid, target.port, period) == ("phi-0", "p1", contract.AGENT_PORT, MOVING_S)
    settled = snapshot(workspace(adapter()), pods=(POD,), stateful_set=live(made), reports=report(told()))
    assert following(made, settled)[1] == SETTLED_S
    assert following(plan(workspace()), snapshot(workspace(), pods=(POD,)))[0] == ()


def test_a_strangers_pod_of_the_name_was_asked(plan, snapshot):
    """Whoever may make pods could answer for the agent, in the moment in which the engine's own pod is away."""
    made = plan(workspace(adapter()))
    theirs = {**POD, "metadata": {"name": "phi-0", "namespace": "default", "uid": "p2"}}
    assert following(made, snapshot(workspace(adapter()), pods=(theirs,), stateful_set=live(made)))[0] == ()
