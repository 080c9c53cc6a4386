"""A Workspace that tunes: its plan, its run, and what its user reads of it."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import events, status
from kaito_controller.controllers.workspace.controller import (
    CONFIG_CHECK_S,
    MISSING_CONFIG_RETRY_S,
    look_at_config_again,
)
from kaito_controller.controllers.workspace.planning import plan_workspace
from kaito_controller.controllers.workspace.tuning import TuningPlan
from kaito_controller.controllers.workspace.verdict import Blocked, Outcome, StepResult
from kaito_controller.testing.builders import SELECTOR, gpu_labels, node, node_claim, pod, tuning_workspace

NODE = node("node-1", labels={keys.WORKSPACE_NAME: "demo", keys.WORKSPACE_NAMESPACE: "models"})
CLAIM = node_claim("ws0", node_name="node-1")
THERE = {"node_claims": (CLAIM,), "nodes": (NODE,)}


def conditions(found):
    return {item["type"]: (item["status"], item["reason"]) for item in found["conditions"]}


def message(found, kind):
    return next(item["message"] for item in found["conditions"] if item["type"] == kind)


def config_map(text):
    return {"metadata": {"name": "mine", "namespace": "models"}, "data": {"training_config.yaml": text}}


def terminated(name, code, *, words="", reason="Error"):
    """Return a container that ended."""
    return {"name": name, "state": {"terminated": {"exitCode": code, "message": words, "reason": reason}}}


@pytest.fixture
def job(plan):
    """Return the Job as planned and as a server holds it; `kind` is the condition that it shows."""

    def make(raw, kind="", why=None, **found):
        made = copy.deepcopy(plan(raw, **found).job)
        made["metadata"] |= {"uid": "uid-of-job"}
        shown = [{"type": kind, "status": "True", **(why or {})}] if kind else []
        made["status"] = {"conditions": shown}
        return made

    return make


@pytest.fixture
def running(job):
    """Return what exists for a Workspace whose pod trains."""

    def make(raw):
        made = job(raw)
        trains = [{"name": "tune", "state": {"running": {}}}]
        return {**THERE, "job": made, "pods": (pod("demo-x", owner=made, containers=trains),)}

    return make


def test_one_node_with_a_copy_of_the_model_on_each_gpu(plan):
    """A node is asked for, its GPUs are all taken, and the plan is told in the status's names."""
    made = plan(tuning_workspace(instance_type="Standard_NC96ads_A100_v4"))
    assert isinstance(made, TuningPlan)
    assert (made.node_count, made.gpus_per_node) == (1, 4)
    assert made.claim(0)["spec"]["resources"]["requests"]["nvidia.com/gpu"] == "4"
    assert (made.figures["nodes"], made.figures["dataParallel"], made.figures["dtype"]) == (1, 4, "bfloat16")
    assert {"weights", "adapter, gradients, Adam", "logits"} <= {entry["entry"] for entry in made.figures["ledger"]}


def test_existing_nodes_are_tuned_on_too(plan):
    """KAITO looks the instance type up, which such a Workspace does not have; here the node's labels say it."""
    raw = tuning_workspace(instance_type="")
    made = plan(raw, nodes=(node("mine", labels={**SELECTOR, **gpu_labels(count=2)}, gpus=2),))
    assert isinstance(made, TuningPlan)
    assert (made.provisions, made.gpus_per_node) == (False, 2)
    terms = made.job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert keys.WORKSPACE_NAME not in json.dumps(terms)


def test_a_model_too_large_is_told_with_numbers_and_remedy(plan):
    """Nothing is made for what cannot be held; the message says how much is missing and what would help."""
    found = plan(tuning_workspace(preset="llama-3.3-70b-instruct", tuning={"preset": GATED}))
    assert isinstance(found, Blocked)
    assert found.reason is Reason.MODEL_DOES_NOT_FIT
    for words in ("Gi on each GPU", "has 79.15Gi", "larger GPUs", "method qlora"):
        assert words in found.message


GATED = {"name": "llama-3.3-70b-instruct", "presetOptions": {"modelAccessSecret": "hub"}}


def test_qlora_fits_where_lora_does_not(plan):
    """Four bits for a weight instead of sixteen."""
    made = plan(tuning_workspace(tuning={"preset": GATED, "method": "QLoRA"}))
    assert isinstance(made, TuningPlan)
    assert made.size.options.weight_bits == 4
    assert made.arguments[1:3] == ("--method", "qlora")


def test_the_engine_that_serves_does_not_matter(plan):
    """An adapter is trained by the same program, whichever runtime the annotation asks for."""
    made = plan(tuning_workspace(metadata={"annotations": {keys.RUNTIME: "transformers"}}))
    assert isinstance(made, TuningPlan)
    assert made.runtime.name == "vllm-cuda"


def test_a_runtime_that_tunes_is_preferred(catalog, settings, snapshot):
    """Else it is said that there is none."""
    serves = evolve(settings.runtime, name="serves", tuning=None)
    alone = plan_workspace(snapshot(tuning_workspace()), catalog, evolve(settings, runtime=serves))
    assert isinstance(alone, Blocked)
    assert (alone.reason, "runtime serves has no container" in alone.message) == (Reason.RUNTIME_UNSUPPORTED, True)
    beside = evolve(settings, runtime=serves, alternatives=(settings.runtime,))
    made = plan_workspace(snapshot(tuning_workspace()), catalog, beside)
    assert isinstance(made, TuningPlan)
    assert made.runtime.name == "vllm-cuda"


def test_a_gated_model_without_a_token_is_told(plan):
    """The path of the field is that of tuning."""
    found = plan(tuning_workspace(preset="llama-3.1-8b-instruct"))
    assert isinstance(found, Blocked)
    assert found.message.startswith("tuning.preset.presetOptions.modelAccessSecret: required")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/a.csv",
        "http://data.localhost:80/a.csv",
        "http://127.0.0.1/a.csv",
        "http://10.1.2.3/a.csv",
        "http://169.254.169.254/latest/meta-data",
        "http://metadata.google.internal/a",
        "http://[::1]/a.csv",
        "http://[::ffff:10.0.0.1]/a.csv",
        "http://[fe80::1%25eth0]/a.csv",
        "http://user@10.0.0.1/a.csv",
        "http://METADATA.google.internal./a",
    ],
)
def test_data_of_a_private_network_is_refused(plan, url):
    """What only this network or this machine reaches is not fetched for somebody who may not reach it."""
    found = plan(tuning_workspace(tuning={"input": {"urls": ["https://data.example.com/a", url]}}))
    assert isinstance(found, Blocked)
    assert (found.reason, "tuning.input.urls[1]") == (Reason.INVALID_SPEC, found.message.partition(":")[0])


@pytest.mark.parametrize(
    ("weights", "reason", "said"),
    [
        ("s3://bucket/model", Reason.RUNTIME_UNSUPPORTED, "tuning does not read object storage"),
        ("node:///etc", Reason.INVALID_SPEC, "of a node's folders only those below /opt/kaito/models are read"),
    ],
)
def test_a_base_model_that_no_training_reads_is_told(plan, weights, reason, said):
    """Before a GPU is asked for; nothing else is trained in its place."""
    found = plan(tuning_workspace(metadata={"annotations": {keys.WEIGHTS: weights}}))
    assert isinstance(found, Blocked)
    assert (found.reason, said in found.message) == (reason, True), found.message


def test_a_network_that_the_operator_allows_is_reached(catalog, settings, snapshot):
    """The pod is told of it, and the URL is not refused."""
    raw = tuning_workspace(tuning={"input": {"urls": ["http://10.160.0.9/a.csv"]}})
    made = plan_workspace(snapshot(raw), catalog, evolve(settings, private_urls=("10.160.0.0/11",)))
    assert isinstance(made, TuningPlan)
    (fetch,) = made.job["spec"]["template"]["spec"]["initContainers"]
    at = fetch["args"].index("--allow-private-urls")
    assert fetch["args"][at + 1] == "10.160.0.0/11"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "must be YAML, line 1"),
        ("- 1", "must be a map training_config of sections"),
        ("training_config: {Lora: {}}", "Unrecognized section: 'Lora'"),
        ("training_config: {LoraConfig: 3}", "training_config.LoraConfig must be a map"),
        ("training_config: {LoraConfig: {r: 0}}", "LoraConfig.r must be a whole number from 1"),
        ("training_config: {QuantizationConfig: {load_in_4bit: maybe}}", "load_in_4bit must be true or false"),
        ("training_config: {QuantizationConfig: {load_in_4bit: true}}", "must be false for method lora"),
        ("training_config: {TrainingArguments: {output_dir: /mnt}}", "a folder strictly below /mnt"),
        ("training_config: {TrainingArguments: {output_dir: /mnt/../etc}}", "a folder strictly below /mnt"),
        ("training_config: {TrainingArguments: {output_dir: 3}}", "a folder strictly below /mnt"),
        ("training_config: {TrainingArguments: {per_device_train_batch_size: -1}}", "from 1"),
        ("training_config: {TrainingArguments: {max_seq_length: 99999999999}}", "max_seq_length must be"),
        ("training_config: {TrainingArguments: {gradient_checkpointing: 3}}", "must be true or false"),
    ],
)
def test_a_wrong_configuration_is_told(plan, text, said):
    """Before a GPU node is paid for."""
    found = plan(tuning_workspace(tuning={"config": "mine"}), config=config_map(text))
    assert isinstance(found, Blocked)
    assert found.reason is Reason.CONFIG_INVALID
    assert said in found.message
    assert found.message.startswith("tuning.config: ConfigMap models/mine")


@pytest.mark.parametrize("packing", ["{}", "{load_in_4bit: false}", "{load_in_4bit: true, load_in_8bit: true}"])
def test_qlora_packs_in_exactly_one_way(plan, packing):
    """As KAITO asks of a ConfigMap for it."""
    raw = tuning_workspace(tuning={"config": "mine", "method": "qlora"})
    found = plan(raw, config=config_map(f"training_config: {{QuantizationConfig: {packing}}}"))
    assert isinstance(found, Blocked)
    assert "exactly one of load_in_4bit and load_in_8bit" in found.message


def test_a_missing_configuration_is_waited_for(plan):
    """As for inference."""
    found = plan(tuning_workspace(tuning={"config": "mine"}))
    assert isinstance(found, Blocked)
    assert found.reason is Reason.CONFIG_MAP_NOT_FOUND
    assert "with the key training_config.yaml" in found.message


def test_the_configuration_decides_the_memory(plan):
    """Values may be quoted, and what is not named is the library's own default."""
    text = """
training_config:
  LoraConfig: {r: "16"}
  TrainingArguments: {max_length: 512, gradient_checkpointing: "False"}
"""
    made = plan(tuning_workspace(tuning={"config": "mine"}), config=config_map(text))
    assert isinstance(made, TuningPlan)
    options = made.size.options
    assert (options.rank, options.batch, options.length, options.checkpointing) == (16, 8, 512, False)
    assert "--config-file" in made.arguments


def test_a_run_is_told_apart_by_tuning_and_configuration_alone(catalog, settings, snapshot):
    """A changed spec or ConfigMap is another run; a new release of the operator is not."""
    raw = tuning_workspace(tuning={"config": "mine"})

    def run(one, text, chosen=settings):
        return plan_workspace(snapshot(one, config=config_map(text)), catalog, chosen).run

    first = run(raw, "training_config: {}")
    newer = evolve(settings, runtime_parameters={"image": "registry.example.com/kaito:2"})
    other = tuning_workspace(tuning={"config": "mine", "input": {"urls": ["https://data.example.com/b"]}})
    annotated = tuning_workspace(tuning={"config": "mine"}, metadata={"annotations": {"a": "b"}})
    moved = tuning_workspace(tuning={"config": "mine"}, metadata={"annotations": {keys.WEIGHTS: "pvc://models/phi"}})
    assert first == run(raw, "training_config: {}", newer) == run(annotated, "training_config: {}")
    changed = run(raw, "training_config: {LoraConfig: {r: 4}}")
    assert len({first, changed, run(other, "training_config: {}"), run(moved, "training_config: {}")}) == 4


def test_before_the_job(project):
    """First the node, then the Job."""
    found = project(tuning_workspace())
    assert {
        "NodeClaimReady": ("False", "NodeClaimNotReady"),
        "NodesReady": ("False", "NodeNotReady"),
        "ResourceReady": ("False", "NodeClaimNotReady"),
        "JobStarted": ("False", "WorkspaceTuningJobStatusPending"),
        "WorkspaceSucceeded": ("False", "workspacePending"),
        "SpecHonored": ("True", "SpecHonored"),
    } == conditions(found)
    assert ("Pending", 1) == (found["state"], found["targetNodeCount"])


def test_a_pod_that_is_not_there_yet_is_pending(project, job):
    """A Job that counts a pod as active has not started while its image is pulled."""
    raw = tuning_workspace()
    made = job(raw)
    stuck = {"name": "tune", "state": {"waiting": {"reason": "ErrImagePull", "message": "denied"}}}
    found = project(raw, **THERE, job=made, pods=(pod("demo-x", owner=made, containers=[stuck]),))
    assert ("False", "ImagePullError") == conditions(found)["JobStarted"]
    assert "denied" in message(found, "WorkspaceSucceeded")
    assert "Pending" == found["state"]


def test_running(project, running):
    """A container of the pod runs."""
    raw = tuning_workspace()
    found = project(raw, **running(raw))
    assert ("True", "WorkspaceTuningJobStatusStarted") == conditions(found)["JobStarted"]
    assert ("False", "workspacePending") == conditions(found)["WorkspaceSucceeded"]
    assert "Running" == found["state"]


def test_a_failed_pod_is_no_failed_workspace(project, job):
    """KAITO says Failed for good at the first pod that fails; here the next try may succeed."""
    raw = tuning_workspace()
    made = job(raw)
    made["status"] |= {"failed": 1, "active": 1}
    ended = [terminated("tune", 69, words="registry.example.com does not answer")]
    broken = pod("demo-a", owner=made, status={"phase": "Failed"}, containers=ended)
    found = project(raw, **THERE, job=made, pods=(broken,))
    assert "Running" == found["state"]
    assert "does not answer" in message(found, "WorkspaceSucceeded")


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ([terminated("fetch", 65, words="train.jsonl:3: no JSON")], "learnt from; it said: train.jsonl:3"),
        ([terminated("tune", 78)], "the configuration is wrong"),
        ([terminated("tune", 137, reason="OOMKilled")], "container tune was killed for memory"),
        ([terminated("tune", 1)], "ended with exit code 1: see its log"),
        ([], "BackoffLimitExceeded: too often"),
    ],
)
def test_failed_says_why(project, job, ended, said):
    """The container's own last words, else the Job controller's."""
    raw = tuning_workspace()
    made = job(raw, "Failed", {"reason": "BackoffLimitExceeded", "message": "too often"})
    phase = {"phase": "Failed"} if ended else {"phase": "Succeeded"}
    found = project(raw, **THERE, job=made, pods=(pod("demo-a", owner=made, status=phase, containers=ended),))
    assert ("False", "WorkspaceTuningJobStatusFailed") == conditions(found)["JobStarted"]
    assert ("False", "workspaceFailed") == conditions(found)["WorkspaceSucceeded"]
    assert said in message(found, "WorkspaceSucceeded")
    assert "Failed" == found["state"] == found["tuning"]["phase"]


def test_succeeded_keeps_the_last_report(project, job):
    """What the container wrote last stands when nobody answers any more."""
    raw = tuning_workspace()
    made = job(raw, "Complete")
    words = json.dumps({"state": "Succeeded", "step": 9, "totalSteps": 9, "loss": 0.5, "output": "r/a:1@sha256:ab"})
    last = pod("demo-a", owner=made, status={"phase": "Succeeded"}, containers=[terminated("tune", 0, words=words)])
    found = project(raw, **THERE, job=made, pods=(last,))
    assert ("True", "workspaceSucceeded") == conditions(found)["WorkspaceSucceeded"]
    assert ("True", "WorkspaceTuningJobStatusStarted") == conditions(found)["JobStarted"]
    assert "Succeeded" == found["state"]
    tuning = found["tuning"]
    assert (tuning["step"], tuning["loss"], tuning["output"]) == (9, 0.5, "r/a:1@sha256:ab")


def test_the_digest_that_came_right_after_the_last_report_was_lost(project, job):
    """The Job had ended within ten seconds of the last write, and nobody wakes a Workspace for it again."""
    raw = tuning_workspace()
    made = job(raw, "Complete")
    words = json.dumps({"state": "Succeeded", "step": 9, "totalSteps": 9, "output": "r/a:1@sha256:ab"})
    last = pod("demo-a", owner=made, status={"phase": "Succeeded"}, containers=[terminated("tune", 0, words=words)])
    before = project(raw, **THERE, job=made)
    assert before["tuning"]["phase"] == "Succeeded"
    found = project({**raw, "status": before}, **THERE, job=made, pods=(last,))
    assert found["tuning"]["output"] == "r/a:1@sha256:ab"
    assert project({**raw, "status": found}, **THERE, job=made, pods=(last,)) == found


@pytest.fixture
def succeeded(project, job, plan):
    """Return a Workspace whose run succeeded, as it is stored."""

    def make(**fields):
        raw = tuning_workspace(**fields)
        found = project(raw, **THERE, job=job(raw, "Complete"))
        return {**raw, "status": found}

    return make


def test_a_run_that_succeeded_stays_so_when_its_job_is_gone(project, plan, succeeded):
    """Somebody tidied up, or the node went: nothing is made anew, not even the node."""
    raw = succeeded()
    found = project(raw)
    assert "Succeeded" == found["state"]
    assert ("True", "workspaceSucceeded") == conditions(found)["WorkspaceSucceeded"]
    assert plan(raw).is_over
    assert not plan(raw).wants_nodes


def test_a_changed_spec_is_another_run(plan, succeeded):
    """What succeeded before says nothing of it."""
    raw = succeeded()
    raw["tuning"] = {**raw["tuning"], "input": {"urls": ["https://data.example.com/more.jsonl"]}}
    assert not plan(raw).is_over


def test_a_run_that_failed_is_tried_again_when_its_job_is_deleted(project, plan, job):
    """That is how a user asks for it."""
    raw = tuning_workspace()
    failed = {**raw, "status": project(raw, **THERE, job=job(raw, "Failed"))}
    assert "Failed" == failed["status"]["state"]
    assert not plan(failed).is_over
    assert plan(failed).wants_nodes
    assert "Pending" == project(failed, **THERE)["state"]


def test_a_finished_run_is_not_undone_by_its_config_map(project, job):
    """The ConfigMap may go when the work is done."""
    raw = tuning_workspace(tuning={"config": "mine"})
    there = config_map("training_config: {}")
    stored = {**raw, "status": project(raw, **THERE, job=job(raw, "Complete", config=there), config=there)}
    assert stored["status"] == project(stored, **THERE)


def test_the_config_map_of_a_finished_run_was_asked_for_every_second(project, plan, snapshot, job):
    """Its user has tidied up, and it is asked for as rarely as one that is there."""
    raw = tuning_workspace(tuning={"config": "mine"})
    there = config_map("training_config: {}")
    stored = {**raw, "status": project(raw, **THERE, job=job(raw, "Complete", config=there), config=there)}
    assert look_at_config_again(snapshot(stored), plan(stored, **THERE)).requeue_after_s == CONFIG_CHECK_S
    assert look_at_config_again(snapshot(raw), plan(raw, **THERE)).requeue_after_s == MISSING_CONFIG_RETRY_S


def test_a_stranger_of_the_same_name_is_told(project):
    """The step's refusal is the reason."""
    refusal = Blocked(reason=Reason.WORKLOAD_CONFLICT, message="Job models/demo exists already")
    outcome = Outcome(steps={"tuning": StepResult(refusal=refusal)})
    found = project(tuning_workspace(), outcome=outcome, **THERE)
    assert ("False", "WorkloadConflict") == conditions(found)["JobStarted"]


@pytest.fixture
def reported(catalog, settings, snapshot, running):
    """Return a function from what a pod reports, after what was written before, to `status.tuning`."""

    def make(report, *, before=None, now):
        raw = tuning_workspace(status={"tuning": before} if before else {})
        seen = snapshot(raw, reports={"demo-x": report}, **running(raw))
        made = plan_workspace(seen, catalog, settings)
        return status.project(seen, made, Outcome(steps={}), now=now)["tuning"]

    return make


@pytest.fixture
def now():
    """Return a moment."""
    return datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


TRAINING = {"state": "Training", "step": 5, "totalSteps": 100, "epoch": 0.25, "loss": 1.23456, "etaSeconds": 60}


def test_progress_is_shown(reported, now):
    """Steps, loss and when it will be done."""
    found = reported(TRAINING, now=now)
    assert found.pop("run")
    assert found == {
        "phase": "Training",
        "step": 5,
        "totalSteps": 100,
        "epoch": 0.25,
        "loss": 1.2346,
        "estimatedCompletionTime": "2026-11-22T12:01:00Z",
        "lastUpdateTime": "2026-11-22T12:00:00Z",
    }


def test_progress_is_written_every_ten_seconds_at_most(reported, now):
    """A step that follows soon waits; another phase does not."""
    first = reported(TRAINING, now=now)
    soon, later = now + timedelta(seconds=9), now + timedelta(seconds=10)
    assert first == reported({**TRAINING, "step": 6}, before=first, now=soon)
    assert 6 == reported({**TRAINING, "step": 6}, before=first, now=later)["step"]
    assert "Saving" == reported({**TRAINING, "state": "Saving"}, before=first, now=soon)["phase"]


def test_an_unchanged_report_writes_nothing(reported, now):
    """However old it is, and though the estimate moves."""
    first = reported(TRAINING, now=now)
    assert first == reported(TRAINING, before=first, now=now + timedelta(hours=1))
    assert first == reported({}, before=first, now=now + timedelta(hours=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": -1},
        {"step": True},
        {"step": 10**30},
        {"step": "5"},
        {"loss": float("nan")},
        {"loss": 10**400},
        {"loss": [1]},
        {"epoch": "1"},
        {"etaSeconds": -3},
        {"etaSeconds": 1e300},
        {"state": "Dancing"},
        {"state": ["Training"]},
        {"output": "a\nb"},
        {"output": "x" * 2000},
        {"output": {}},
    ],
)
def test_what_a_pod_should_not_say_is_left_out(reported, now, wrong):
    """A report is a stranger's text."""
    (name,) = wrong
    found = reported(wrong, now=now)
    shown = {"state": "phase", "etaSeconds": "estimatedCompletionTime"}.get(name, name)
    assert shown not in found


def test_events_tell_of_start_end_and_failure(project, job, running):
    """The story in kubectl describe."""
    raw = tuning_workspace()
    pending = {**raw, "status": project(raw, **THERE)}
    started = {**raw, "status": project(pending, **running(raw))}
    ended = {**raw, "status": project(started, **THERE, job=job(raw, "Complete"))}
    failed = {**raw, "status": project(started, **THERE, job=job(raw, "Failed", {"reason": "PodFailurePolicy"}))}

    def told(before, after):
        return {(notice.reason, notice.warning) for notice in events.told_by(before, after)}

    assert (Reason.TUNING_STARTED, False) in told(pending, started)
    assert told(started, ended) == {(Reason.WORKSPACE_SUCCEEDED, False)}
    assert (Reason.TUNING_FAILED, True) in told(started, failed)
    assert told(ended, ended) == set()


def test_tuning_pending_is_quiet(project):
    """Waiting is told by the conditions."""
    raw = tuning_workspace()
    told = events.told_by(raw, {**raw, "status": project(raw, **THERE)})
    assert Reason.TUNING_PENDING not in {notice.reason for notice in told}
