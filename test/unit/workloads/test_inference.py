"""The StatefulSet that serves a preset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inference_server import contract
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.loader import Catalog
from kaito_controller.kube.metadata import Object
from kaito_controller.testing.strict_models import problems
from kaito_controller.workloads.probes import startup_budget_seconds
from kaito_controller.workloads.runtimes.parameters import RuntimeParameterError, resolve_parameters

MakeWorkspace = Callable[..., Workspace]
Serve = Callable[..., Object]


def pod_of(stateful_set: Object) -> dict[str, Any]:
    pod: dict[str, Any] = stateful_set["spec"]["template"]["spec"]
    return pod


def container_of(stateful_set: Object) -> dict[str, Any]:
    container: dict[str, Any] = pod_of(stateful_set)["containers"][0]
    return container


def argument(stateful_set: Object, name: str) -> str | None:
    words = container_of(stateful_set)["args"]
    return words[words.index(name) + 1] if name in words else None


def environment(stateful_set: Object) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container_of(stateful_set)["env"]}


def test_one_pod_a_node_all_at_once(workspace: MakeWorkspace, serve: Serve):
    """falcon-40b on single A100s: two pods, started together, named by the headless Service."""
    made = serve(workspace("falcon-40b"))

    assert (made["spec"]["replicas"], made["spec"]["podManagementPolicy"]) == (2, "Parallel")
    assert made["spec"]["serviceName"] == "chat-headless"
    assert made["spec"]["selector"]["matchLabels"] == {"kaito.sh/workspace": "chat"}


def test_the_server_starts_without_a_shell(workspace: MakeWorkspace, serve: Serve):
    """Command and arguments are words; a name with shell characters stays one word."""
    made = container_of(serve(workspace()))

    assert made["command"] == ["python3", "-m", "inference_server.serve"]
    assert made["args"] == [
        "--architecture", "Phi3ForCausalLM",
        "--dtype", "bfloat16",
        "--gpu-memory-utilization", "0.84",
        "--max-model-len", "auto",
        "--model", "/workspace/weights/microsoft-Phi-3-mini-4k-instruct-60d530781d44",
        "--port", "5000",
        "--served-model-name", "phi-3-mini-4k-instruct", "microsoft/Phi-3-mini-4k-instruct",
        "--tensor-parallel-size", "1",
        "--weights-agent", "http://127.0.0.1:5001",
    ]  # fmt: skip


def test_the_same_plan_is_the_same_object(workspace: MakeWorkspace, serve: Serve):
    """Nothing in it depends on when or how often it is made."""
    assert serve(workspace("falcon-40b")) == serve(workspace("falcon-40b"))


def test_gpus_are_requested_as_planned(workspace: MakeWorkspace, serve: Serve):
    """phi-4 is cut over two of eight GPUs and copied four times, so that none idles."""
    made = serve(workspace("phi-4", resource={"instanceType": "Standard_ND96asr_A100_v4"}))

    assert container_of(made)["resources"] == {"requests": {"nvidia.com/gpu": "8"}, "limits": {"nvidia.com/gpu": "8"}}
    assert argument(made, "--tensor-parallel-size") == "2"
    assert argument(made, "--data-parallel-size") == "4"


def test_ranks_on_several_nodes_know_where_to_meet(workspace: MakeWorkspace, serve: Serve):
    """Each pod's rank is its index; all meet at pod 0's name of the headless Service."""
    made = serve(workspace("falcon-40b"))
    words = container_of(made)["args"]

    assert argument(made, "--nnodes") == "2"
    assert argument(made, "--node-rank") == "$(POD_INDEX)"
    assert argument(made, "--master-addr") == "chat-0.chat-headless.team.svc"
    assert argument(made, "--pipeline-parallel-size") == "2"
    assert "ray" not in words
    assert container_of(made)["env"][0] == {
        "name": "POD_INDEX",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
    }


def test_a_cpu_engine_spans_nodes_too(workspace: MakeWorkspace, serve: Serve):
    """Two nodes on the CPU: ranks and a meeting point, but nothing about GPUs, and code is compiled as it must be."""
    one = serve(workspace("tiny-phi3"), runtime="vllm-cpu-host")
    two = serve(workspace("tiny-phi3", resource={"count": 2}), runtime="vllm-cpu-host")

    assert [argument(made, "--pipeline-parallel-size") for made in (one, two)] == [None, "2"]
    assert ["--enforce-eager" in container_of(made)["args"] for made in (one, two)] == [True, False]
    assert argument(two, "--tensor-parallel-size") is None
    assert argument(two, "--node-rank") == "$(POD_INDEX)"


def test_float16_on_a_v100(workspace: MakeWorkspace, serve: Serve):
    """The tutorial's instance type gets the precision that its GPU has."""
    made = serve(workspace(resource={"instanceType": "Standard_NC6s_v3"}), runtime="vllm-cuda-v100")

    assert argument(made, "--dtype") == "float16"


def test_probes_ask_the_server_s_health(workspace: MakeWorkspace, serve: Serve):
    """All three probes ask /health on 5000; the startup probe bears the whole loading time."""
    made = container_of(serve(workspace("llama-3.3-70b-instruct")))
    probes = [made[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")]

    assert [probe["httpGet"] for probe in probes] == [{"path": "/health", "port": 5000}] * 3
    budget = probes[0]["failureThreshold"] * probes[0]["periodSeconds"]
    assert 0 <= budget - startup_budget_seconds(141107412992) < probes[0]["periodSeconds"]


@pytest.mark.parametrize(
    ("gib", "minutes"), [(0, 30), (7, 30), (50, 30), (100, 45), (131.42, 54.426), (550, 180), (1000, 180)]
)
def test_the_startup_budget_grows_with_the_weights(gib: float, minutes: float):
    """15 minutes and 18 seconds a GiB, never below 30 minutes nor above 180."""
    assert startup_budget_seconds(int(gib * 1024**3)) == pytest.approx(minutes * 60, abs=1)


def test_shared_memory_is_not_the_container_default(workspace: MakeWorkspace, serve: Serve):
    """Shared memory is a memory volume: 64 MiB are too few for vLLM."""
    made = serve(workspace())

    assert {"name": "dshm", "emptyDir": {"medium": "Memory"}} in pod_of(made)["volumes"]
    assert {"name": "dshm", "mountPath": contract.SHARED_MEMORY_DIRECTORY} in container_of(made)["volumeMounts"]


def test_the_user_s_configuration_is_mounted_and_named(workspace: MakeWorkspace, serve: Serve):
    """inference.config becomes a volume and an argument; without it there is neither."""
    plain = serve(workspace())
    configured = serve(workspace(inference={"config": "options"}))

    assert argument(plain, "--config-file") is None
    assert argument(configured, "--config-file") == "/mnt/config/inference_config.yaml"
    assert {"name": "config-volume", "configMap": {"name": "options"}} in pod_of(configured)["volumes"]
    assert {"name": "config-volume", "mountPath": "/mnt/config", "readOnly": True} in container_of(configured)[
        "volumeMounts"
    ]


def test_a_token_comes_from_a_secret_only(workspace: MakeWorkspace, serve: Serve):
    """The hub's token is a reference, so it is in no argument and in no object we write; only the agent has it."""
    preset = {"name": "llama-3.1-8b-instruct", "presetOptions": {"modelAccessSecret": "hub"}}
    made = serve(workspace("llama-3.1-8b-instruct", inference={"preset": preset}))

    (token,) = [one for one in pod_of(made)["initContainers"][0]["env"] if one["name"] == "HF_TOKEN"]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN", "optional": True}}
    assert "HF_TOKEN" not in environment(made)
    assert "HF_TOKEN" not in str(serve(workspace()))


def test_pods_go_where_the_selector_and_the_pins_say(workspace: MakeWorkspace, serve: Serve):
    """matchLabels, matchExpressions and pins are one node affinity term; a reserved key of the user is left out."""
    selector = {
        "matchLabels": {"apps": "chat", "kaito.sh/workspace": "theirs"},
        "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["spot"]}],
    }
    made = serve(workspace(resource={"labelSelector": selector}), node_pins={"kaito.sh/workspace": "chat"})
    required = pod_of(made)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]

    assert required == {
        "nodeSelectorTerms": [
            {
                "matchExpressions": [
                    {"key": "apps", "operator": "In", "values": ["chat"]},
                    {"key": "tier", "operator": "NotIn", "values": ["spot"]},
                    {"key": "kaito.sh/workspace", "operator": "In", "values": ["chat"]},
                ]
            }
        ]
    }


def test_the_gpu_taints_are_tolerated(workspace: MakeWorkspace, serve: Serve):
    """The NodeClaim's own taint does not keep the Workspace's pods away."""
    tolerated = {(entry["key"], entry.get("value")) for entry in pod_of(serve(workspace()))["tolerations"]}

    assert {("sku", "gpu"), ("nvidia.com/gpu", None)} <= tolerated


@pytest.mark.parametrize("runtime", ["vllm-cuda", "vllm-cpu-host"])
def test_the_pod_is_restricted(workspace: MakeWorkspace, serve: Serve, runtime: str):
    """What Pod Security "restricted" asks of security contexts, plus a read-only root and no API token."""
    pod = pod_of(serve(workspace(), runtime=runtime))
    container = pod["containers"][0]["securityContext"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert container["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False


def test_only_the_host_runtime_uses_host_paths_and_says_so(workspace: MakeWorkspace, serve: Serve):
    """HostPath fails Pod Security: all of it is read-only, and the pod's annotation says it."""
    image = serve(workspace())
    host = serve(workspace("tiny-phi3"), runtime="vllm-cpu-host")
    mounts = container_of(host)["volumeMounts"]
    host_volumes = {volume["name"] for volume in pod_of(host)["volumes"] if "hostPath" in volume}

    assert not any("hostPath" in volume for volume in pod_of(image)["volumes"])
    assert all(mount["readOnly"] for mount in mounts if mount["name"] in host_volumes)
    assert "hostPath" in host["spec"]["template"]["metadata"]["annotations"]["kaito.sh/runtime-note"]
    assert [mount["mountPath"] for mount in mounts if mount["name"].startswith("host-")] == [
        "/opt/python",
        "/srv/kaito",
        "/var/cache/kaito/inference",
        "/var/cache/kaito/models",
    ]


def test_the_taught_model_comes_from_the_models_folder(workspace: MakeWorkspace, serve: Serve):
    """A model of no hub is read from the node, and the hub is never asked."""
    made = serve(workspace("tiny-phi3"), runtime="vllm-cpu-host")

    assert argument(made, "--model") == "/var/cache/kaito/models/tiny-phi3"
    assert environment(made)["HF_HUB_OFFLINE"] == "1"
    assert argument(made, "--max-model-len") == "2048"
    assert argument(made, "--gpu-memory-utilization") is None
    assert container_of(made)["command"][0] == "/var/cache/kaito/inference/bin/python"


def test_a_folder_inside_another_is_mounted_once(catalog: Catalog, workspace: MakeWorkspace):
    """An interpreter below /usr comes along with /usr; an environment inside the checkout with the checkout."""
    from kaito_controller.workloads.volumes import pod_volumes

    runtime = catalog.runtime("vllm-cpu-host")
    given = {"interpreter": "/usr/local", "environment": "/srv/kaito/env", "source": "/srv/kaito", "models": "/m"}
    made = pod_volumes(workspace("tiny-phi3"), runtime, given)
    paths = [mount["mountPath"] for mount in made.mounts]

    assert [path for path in paths if path in set(given.values())] == ["/m", "/srv/kaito"]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({}, "--runtime-parameter interpreter: must be given for runtime vllm-cpu-host (prefix of the Python"),
        ({"modles": "/m"}, "must be one of interpreter, environment, source, models for runtime vllm-cpu-host; found"),
    ],
)
def test_a_parameter_that_is_missing_or_unknown_is_an_error(catalog: Catalog, given: dict[str, str], part: str):
    """The operator does not start with a runtime that it cannot fill in."""
    with pytest.raises(RuntimeParameterError) as caught:
        resolve_parameters(catalog.runtime("vllm-cpu-host"), given)

    assert part in str(caught.value)


def test_an_inference_set_s_name_is_served_first(workspace: MakeWorkspace, serve: Serve):
    """Replicas of one InferenceSet answer to the same name; the mark is on the pods too."""
    made = serve(workspace(metadata={"labels": {"inferenceset.kaito.sh/created-by": "fleet"}}))

    assert argument(made, "--served-model-name") == "fleet"
    assert made["spec"]["selector"]["matchLabels"]["inferenceset.kaito.sh/created-by"] == "fleet"


@pytest.mark.parametrize(("mode", "passed"), [("throughput", "throughput"), ("balanced", None), ("warp", None)])
def test_a_performance_mode_is_passed_on(workspace: MakeWorkspace, serve: Serve, mode: str, passed: str | None):
    """Modes other than the engine's default become an argument."""
    made = serve(workspace(metadata={"annotations": {"kaito.sh/performance-mode": mode}}))

    assert argument(made, "--performance-mode") == passed


def test_the_revision_is_an_annotation(workspace: MakeWorkspace, serve: Serve):
    """The revision stands on the StatefulSet, not in the pod template: a new number alone restarts nothing."""
    made = serve(workspace(), revision="7")

    assert made["metadata"]["annotations"] == {"workspace.kaito.io/revision": "7"}
    assert "annotations" not in made["spec"]["template"]["metadata"]


def test_the_strict_models_find_a_mistake(workspace: MakeWorkspace, serve: Serve):
    """The check that the manifests below pass is one that a misspelt field fails."""
    made = serve(workspace())
    made["spec"]["replica"] = 1
    del made["spec"]["selector"]
    made["spec"]["template"]["spec"]["containers"][0]["args"] = "--model"

    assert problems("V1StatefulSet", made) == [
        "V1StatefulSet.spec.template.spec.containers[0].args: must be a list; found '--model'",
        "V1StatefulSet.spec.replica: is no field of V1StatefulSetSpec",
        "V1StatefulSet.spec.selector: must be given",
    ]
