"""What the user reads of weights that are on their way, and which places they may come from."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from attrs import evolve

from inference_server import contract
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import events, readiness, weights_status
from kaito_controller.controllers.workspace.planning import plan_workspace
from kaito_controller.controllers.workspace.reports import FETCHING_S, SETTLED_S, following
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.workloads.weights_cache import WeightsCache

FETCHING = {
    "state": "Fetching",
    "source": "hf://microsoft/phi-4",
    "revision": "0123",
    "bytesDone": 12_300_000_000,
    "bytesTotal": 28_100_000_000,
    "bytesPerSecond": 220_000_000,
}
LIVE = {"metadata": {"name": "w", "namespace": "default", "uid": "s1"}}
READY = {"state": "Ready", "source": "hf://microsoft/phi-4", "revision": "0123", "folder": "/w"}


def workspace(**annotations: str) -> dict[str, Any]:
    asked = {f"kaito.sh/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": "w", "namespace": "default", "uid": "u1", "generation": 1, "annotations": asked},
        "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": "w"}}},
        "inference": {"preset": {"name": "falcon-40b"}},
    }


def pod(index: int, *, ready: bool = False, agent: bool = True) -> dict[str, Any]:
    """A pod whose engine's image is still on its way, so that it is Pending, with or without its agent."""
    state = {"running": {}} if agent else {"waiting": {"reason": "PodInitializing"}}
    status: dict[str, Any] = {"phase": "Pending", "initContainerStatuses": [{"name": "agent", "state": state}]}
    if ready:
        status |= {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "w", "uid": "s1", "controller": True}
    head = {"name": f"w-{index}", "namespace": "default", "uid": f"p{index}", "ownerReferences": [owner]}
    return {"metadata": head, "status": status}


def reports(**by_pod: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): {"weights": told} for name, told in by_pod.items()}


def test_the_condition_says_how_far_the_slowest_pod_is(plan, snapshot):
    """Bytes, speed and the time that is left; the pod that has all of it is not what is waited for."""
    made = plan(workspace())
    seen = snapshot(workspace(), stateful_set=LIVE, pods=(pod(0), pod(1)), reports=reports(w_0=READY, w_1=FETCHING))
    verdict = readiness.inference(made, seen)

    assert verdict.reason is Reason.WEIGHTS_FETCHING
    assert verdict.message == ("pod w-1: weights are being fetched: 12.3 GB of 28.1 GB, 220.0 MB/s, about 71 s left")
    standing = weights_status.weights(made, seen)
    assert standing is not None
    assert (standing.pod, standing.bytes_done, standing.revision) == ("w-1", 12_300_000_000, "0123")


def test_weights_that_cannot_be_had_are_told_in_the_agents_words(plan, snapshot):
    """Also when the engine, which cannot start without them, keeps crashing meanwhile."""
    crashing = pod(0)
    crashing["status"]["containerStatuses"] = [
        {
            "name": "w",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 66}},
        }
    ]
    failed = {"state": "Failed", "message": "microsoft/phi-4: the hub does not let it be read; name a Secret"}
    verdict = readiness.inference(
        plan(workspace()), snapshot(workspace(), stateful_set=LIVE, pods=(crashing,), reports=reports(w_0=failed))
    )

    assert (verdict.reason, verdict.holds) == (Reason.WEIGHTS_FAILED, False)
    assert "does not let it be read; name a Secret" in verdict.message


def test_what_was_known_stands_until_somebody_tells_anew(plan, snapshot):
    """A restarted operator has heard of nobody yet."""
    raw = {**workspace(), "status": {"weights": {"state": "Ready", "revision": "0123"}}}
    standing = weights_status.weights(plan(raw), snapshot(raw, stateful_set=LIVE, pods=(pod(0),)))

    assert standing is not None
    assert (standing.state, standing.revision) == ("Ready", "0123")


def test_pods_that_serve_have_their_weights(plan, snapshot):
    """The last report may be from just before the end, and nobody is asked after it."""
    pods = (pod(0, ready=True), pod(1, ready=True))
    seen = snapshot(workspace(), stateful_set=LIVE, pods=pods, reports=reports(w_0=READY, w_1=FETCHING))
    standing = weights_status.weights(plan(workspace()), seen)

    assert standing is not None
    assert (standing.state, standing.bytes_per_second) == ("Ready", None)


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"state": "Done"},
        {"state": 5},
        {},
    ],
)
def test_a_report_that_has_no_form_is_as_good_as_none(plan, snapshot, told):
    """Anything in the pod may answer for the agent."""
    seen = snapshot(workspace(), stateful_set=LIVE, pods=(pod(0),), reports={"w-0": {"weights": told}})

    assert weights_status.weights(plan(workspace()), seen) is None
    assert readiness.inference(plan(workspace()), seen).reason is Reason.INFERENCE_PENDING


def test_numbers_and_words_of_a_report_are_bounded(plan, snapshot):
    """What is no count is left out; what is too long is cut; control characters are spaces."""
    told = {**FETCHING, "bytesDone": -5, "bytesTotal": 2**70, "bytesPerSecond": True, "message": "a\nb" + "x" * 9999}
    seen = snapshot(
        workspace(), stateful_set=LIVE, pods=(pod(0),), reports=reports(w_0={**told, "revision": "no such\x00thing"})
    )
    standing = weights_status.weights(plan(workspace()), seen)

    assert standing is not None
    assert (standing.bytes_done, standing.bytes_total, standing.bytes_per_second, standing.revision) == (
        None,
        None,
        None,
        "",
    )
    assert standing.message.startswith("a bx")
    assert len(standing.message) == weights_status.MESSAGE_LIMIT


def test_every_megabyte_of_weights_was_a_warning(project):
    """The condition says how far they are; an event is for what went wrong or has come to an end."""
    later = {**FETCHING, "bytesDone": 13_000_000_000}
    was, now = (
        project(workspace(), stateful_set=LIVE, pods=(pod(0),), reports=reports(w_0=told)) for told in (FETCHING, later)
    )
    assert was["conditions"] != now["conditions"]
    assert not events.told_by({"status": was}, {"status": now})


def test_agents_are_asked_from_the_moment_they_run_until_all_have_their_weights(plan, snapshot):
    """A pod is Pending while the engine's image comes; its agent answers all the same."""
    made = plan(workspace())
    started = snapshot(workspace(), stateful_set=LIVE, pods=(pod(0), pod(1, agent=False)))
    targets, period = following(made, started)
    assert ([one.name for one in targets], period) == (["w-0"], FETCHING_S)

    arrived = snapshot(workspace(), stateful_set=LIVE, pods=(pod(0), pod(1)), reports=reports(w_0=READY, w_1=READY))
    assert following(made, arrived) == ((), SETTLED_S)
    serving = snapshot(workspace(), stateful_set=LIVE, pods=(pod(0, ready=True), pod(1, ready=True)))
    assert following(made, serving) == ((), SETTLED_S)


def test_nobody_is_asked_about_weights_that_nobody_fetches(plan, snapshot):
    """A claim's model is just there."""
    raw = workspace(weights="pvc://models")
    seen = snapshot(raw, stateful_set=LIVE, pods=(pod(0),))

    assert weights_status.weights(plan(raw), seen) is None
    assert following(plan(raw), seen) == ((), SETTLED_S)


@pytest.mark.parametrize(
    ("uri", "reason", "part"),
    [
        ("node:///etc/kubernetes", Reason.INVALID_SPEC, "only those below /opt/kaito/models are read"),
        ("node:///opt/kaito/models-of-others", Reason.INVALID_SPEC, "found /opt/kaito/models-of-others"),
        ("ftp://host/model", Reason.INVALID_SPEC, "must be one of hf://"),
        ("pvc://models/../..", Reason.INVALID_SPEC, "must be one of hf://"),
    ],
)
def test_places_that_cannot_be_used_are_told(plan, uri: str, reason: Reason, part: str):
    """Before any node is made, with what to do."""
    blocked = plan(workspace(weights=uri))

    assert isinstance(blocked, Blocked)
    assert blocked.reason is reason
    assert part in blocked.message


def test_a_bucket_needs_a_runtime_that_streams(snapshot, catalog, settings):
    """One whose image lacks the streamer says so, with what to use instead."""
    without = evolve(settings, runtime=evolve(settings.runtime, object_storage=False))
    blocked = plan_workspace(snapshot(workspace(weights="s3://bucket/model")), catalog, without)

    assert isinstance(blocked, Blocked)
    assert blocked.reason is Reason.RUNTIME_UNSUPPORTED
    assert "holds nothing that streams from object storage" in blocked.message


def test_a_folder_that_the_operator_allows_is_read(snapshot, catalog, settings):
    """--weights-node-folder."""
    allowing = evolve(settings, weights_folders=("/data/models",))
    made = plan_workspace(snapshot(workspace(weights="node:///data/models/phi")), catalog, allowing)

    assert not isinstance(made, Blocked)
    assert contract.ARG_WEIGHTS_AGENT not in made.arguments


def test_a_gated_model_needs_no_token_where_the_hub_is_not_asked(plan):
    """Its files were put into a volume by somebody who has accepted the licence."""
    raw = copy.deepcopy(workspace(weights="pvc://models/llama"))
    raw["inference"]["preset"]["name"] = "llama-3.1-8b-instruct"
    locked = copy.deepcopy(raw)
    del locked["metadata"]["annotations"]

    assert not isinstance(plan(raw), Blocked)
    assert isinstance(plan(locked), Blocked)


def test_a_class_of_local_disks_is_for_nodes_that_have_them(snapshot, catalog, settings):
    """A V100 of the tutorials has no NVMe, so its pods keep what they fetch to themselves."""
    asked = evolve(settings, weights_cache=WeightsCache.parse("storageClass:kaito-local-nvme-disk"))
    fast = plan_workspace(snapshot(workspace()), catalog, asked)
    slow_raw = workspace()
    slow_raw["resource"]["instanceType"] = "Standard_NV36ads_A10_v5"
    slow_raw["inference"]["preset"]["name"] = "phi-4-mini-instruct"
    slow = plan_workspace(snapshot(slow_raw), catalog, asked)

    assert fast.stateful_set["spec"]["volumeClaimTemplates"]
    assert "volumeClaimTemplates" not in slow.stateful_set["spec"]
