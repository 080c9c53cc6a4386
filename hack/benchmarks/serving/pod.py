"""A Workspace whose pod pulls its images from a registry and its weights from a hub, on a node that had none of them.

A local cluster with a real node, a real registry and the project's own images: told is when what came, seen from
outside, and how long the same steps would take one after the other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from local_cluster import registry as registry_of
from local_cluster import surroundings
from local_cluster.image_push import push
from local_cluster.kubectl import Kubectl
from local_cluster.operator_process import Operator
from local_cluster.quickstart import printed_path
from local_cluster.trial import ClusterTool

from benchmarks.serving.setting import Setting
from benchmarks.serving.slow_hub import DOWNLOAD_S, SlowHub, slow_hub
from benchmarks.serving.slow_hub import NAME as MODEL
from benchmarks.simulated_cluster import running
from benchmarks.timeline import WATCHES_START_S, Watching
from benchmarks.workspace import READY, SUCCEEDED, workspace
from inference_server import contract
from kaito_controller.providers.local.addresses import ALL_PLANS
from kaito_controller.providers.local.cluster import LocalCluster

CLUSTER: Final = "bench"
WORKSPACE: Final = "bench"
UP_LIMIT_S: Final = 600.0
READY_LIMIT_S: Final = 1200.0
BASE: Final = "base-"

AGENT_SINCE: Final = "{.status.initContainerStatuses[0].state.running.startedAt}"
ENGINE_SINCE: Final = "{.status.containerStatuses[0].state.running.startedAt}"
EVENT: Final = ("{.reason}", "{.involvedObject.name}", "{.involvedObject.fieldPath}")


@frozen(kw_only=True)
class Cluster:
    """A cluster with one base node and a registry that holds the images."""

    local: LocalCluster
    kubectl: Kubectl


def measure(setting: Setting) -> dict[str, Any]:
    """Apply the Workspace to a cluster whose registry holds the images, and watch it become ready."""
    archives = {
        "agent_image": printed_path("hack/images", "build", "controller"),
        "image": printed_path("hack/images", "build", "inference-cpu"),
    }
    with _cluster(setting.folder) as cluster:
        images = {parameter: push(cluster.local, archive) for parameter, archive in archives.items()}
        with (
            slow_hub(setting.model, str(cluster.local.plan.host_address)) as hub,
            running(_operator(cluster, images, hub)),
        ):
            return _watched(cluster.kubectl, hub)


def show(figures: dict[str, Any]) -> None:
    """Print the timeline, and what it would be without overlap."""
    print(
        f"a Workspace on a new node: images from a registry, weights from a hub that takes {DOWNLOAD_S:.0f} s over them"
    )
    for what, at_s in figures["at_s"].items():
        print(f"  {at_s:>7.1f} s  {what.replace('_', ' ')}")
    took = ", ".join(f"{what.replace('_', ' ')} {seconds:.1f} s" for what, seconds in figures["took_s"].items())
    print(f"  {took}")
    print(f"  the pod took {figures['pod_s']:.1f} s; one after the other these take {figures['in_turn_s']:.1f} s")


@contextmanager
def _cluster(folder: Path) -> Iterator[Cluster]:
    surroundings.enter(CLUSTER)
    state = folder / "state"
    tool = ClusterTool(state=state, environment={**os.environ, "KAITO_STATE": str(state)})
    try:
        done = tool("up", "--name", CLUSTER, "--nodes", "1", "--registry", timeout_s=UP_LIMIT_S)
        if done.returncode:
            raise RuntimeError(f"hack/cluster up: {done.stderr}")
        yield _running_in(tool.folder(CLUSTER))
    finally:
        tool("down", "--name", CLUSTER, timeout_s=UP_LIMIT_S)


def _running_in(folder: Path) -> Cluster:
    document = json.loads((folder / "cluster.json").read_text())
    local = LocalCluster.load(folder / "cluster.json")
    kubectl = Kubectl(binary=local.bin_dir / "kubectl", kubeconfig=Path(document["kubeconfig"]))
    # As an administrator does whose namespaces' pods pull from a private registry.
    kubectl.run("apply", "-f", document["registry"]["secret"])
    account = {"imagePullSecrets": [{"name": registry_of.SECRET_NAME}]}
    kubectl.run("patch", "serviceaccount", "default", "--patch", json.dumps(account))
    return Cluster(local=local, kubectl=kubectl)


def _operator(cluster: Cluster, images: Mapping[str, str], hub: SlowHub) -> Operator:
    state = cluster.local.state_dir
    arguments = (
        *(
            "--controllers",
            "workspace,nodeclaim",
            "--provider",
            "local",
            "--local-cluster",
            str(state / "cluster.json"),
        ),
        *("--inference-runtime", "vllm-cpu", "--allow-private-urls", ALL_PLANS),
        *(f"--runtime-parameter={parameter}={image}" for parameter, image in images.items()),
    )
    python = printed_path("hack/environment", "operator")
    environment = {"HF_ENDPOINT": hub.url}
    return Operator(state=state, kubectl=cluster.kubectl, python=python, arguments=arguments, environment=environment)


def _watched(kubectl: Kubectl, hub: SlowHub) -> dict[str, Any]:
    """When what was first seen, in seconds after the apply."""
    with (
        Watching(kubectl, "workspaces", (SUCCEEDED,)) as workspaces,
        Watching(kubectl, "nodes", (READY,), namespaced=False) as nodes,
        Watching(kubectl, "pods", (READY, AGENT_SINCE, ENGINE_SINCE)) as pods,
        Watching(kubectl, "events", EVENT) as events,
    ):
        time.sleep(WATCHES_START_S)
        began = time.monotonic()
        asked = workspace(WORKSPACE, preset=MODEL, instance_type="Standard_NC6s_v3")
        kubectl.run("apply", "-f", "-", stdin=json.dumps(asked))
        ready = workspaces.first(lambda seen: seen.columns == ("True",), "a READY Workspace", READY_LIMIT_S)
        of_pod = [line for line in pods.seen if line.name == f"{WORKSPACE}-0"]
        pulls = {
            f"{image}_{reason.lower()}": _event(events, reason, container)
            for image, container in (("agent_image", contract.AGENT_CONTAINER), ("engine_image", WORKSPACE))
            for reason in ("Pulling", "Pulled")
        }
        at = {
            "node_ready": nodes.first(
                lambda seen: not seen.name.startswith(BASE) and seen.columns == ("True",), "a node"
            ).at,
            "agent_started": next(line.at for line in of_pod if line.columns[1]),
            "weights_asked_for": hub.asked_at,
            "weights_sent": hub.sent_at,
            "engine_started": next(line.at for line in of_pod if line.columns[2]),
            "pod_ready": next(line.at for line in of_pod if line.columns[0] == "True"),
            "workspace_ready": ready.at,
            **pulls,
        }
    return _figures({what: round(when - began, 2) for what, when in sorted(at.items(), key=lambda item: item[1])})


def _event(events: Watching, reason: str, container: str) -> float:
    wanted = f"{{{container}}}"
    told = next(
        line
        for line in events.seen
        if line.columns[:2] == (reason, f"{WORKSPACE}-0") and line.columns[2].endswith(wanted)
    )
    return told.at


def _figures(at_s: dict[str, float]) -> dict[str, Any]:
    spans = {
        "agent_image": ("agent_image_pulling", "agent_image_pulled"),
        "weights": ("weights_asked_for", "weights_sent"),
        "engine_image": ("engine_image_pulling", "engine_image_pulled"),
        "engine": ("engine_started", "pod_ready"),
    }
    took_s = {what: round(at_s[end] - at_s[begin], 2) for what, (begin, end) in spans.items()}
    # While it waits for weights, their time is counted and the engine's is not.
    took_s["engine"] = round(took_s["engine"] - max(0.0, at_s["weights_sent"] - at_s["engine_started"]), 2)
    return {
        "at_s": at_s,
        "took_s": took_s,
        "in_turn_s": round(sum(took_s.values()), 2),
        "pod_s": round(at_s["pod_ready"] - at_s["agent_image_pulling"], 2),
    }
