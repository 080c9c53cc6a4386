"""The API as kubectl shows it: versions, columns, explain, the manifests under config/."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kaito_controller.api.kinds import WORKSPACE
from kaito_controller.testing.apiserver import APIServer, KubectlError
from kaito_controller.testing.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "config" / "samples").glob("*.yaml"))

PRESET = {
    "name": "tiny-phi3",
    "accessMode": "private",
    "presetOptions": {"image": "example.com/model:1", "imagePullSecrets": ["pull"], "modelAccessSecret": "token"},
}
IMAGE_SOURCE = {"name": "hat", "image": "example.com/hat:1", "imagePullSecrets": ["pull"]}
VOLUME = {"persistentVolumeClaim": {"claimName": "data", "readOnly": True}}
SELECTOR = {
    "matchLabels": {"apps": "x"},
    "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}],
}
STATUS = {
    "weights": {
        "state": "Fetching",
        "source": "hf://microsoft/phi-4",
        "revision": "0123abc",
        "bytesDone": 5,
        "bytesTotal": 8,
        "bytesPerSecond": 1,
        "pod": "preset-0",
        "message": "the hub is busy",
    },
    "adapters": [
        {
            "name": "hat",
            "state": "Failed",
            "reason": "RankTooHigh",
            "message": "its rank is 64",
            "source": "example.com/hat:1",
            "digest": "sha256:1",
            "rank": 64,
        }
    ],
    "state": "Ready",
    "targetNodeCount": 2,
    "plan": {
        "model": "acme/tiny",
        "revision": "c" * 40,
        "instanceType": "Standard_NC24ads_A100_v4",
        "nodes": 2,
        "tensorParallel": 1,
        "pipelineParallel": 2,
        "dataParallel": 1,
        "dtype": "bfloat16",
        "maxModelLen": 4096,
        "kvTokens": 70528,
        "args": ["--model", "acme/tiny"],
        "ledger": [{"entry": "weights", "bytes": 8030527488, "formula": "all of them", "source": "config.json"}],
        "price": {"perHour": 3.67, "currency": "USD", "source": "a list", "date": "2026-11-01"},
    },
    "tuning": {
        "run": "0123456789abcdef",
        "phase": "Training",
        "step": 5,
        "totalSteps": 100,
        "epoch": 0.25,
        "loss": 1.5,
        "estimatedCompletionTime": "2026-11-22T12:01:00Z",
        "output": "registry.example.com/adapters/hat:1@sha256:ab",
        "lastUpdateTime": "2026-11-22T12:00:00Z",
    },
    "workerNodes": ["n-1", "n-2"],
    "conditions": [
        {
            "type": kind,
            "status": status,
            "reason": "Because",
            "message": "said so",
            "lastTransitionTime": "2026-11-22T12:00:00Z",
            "observedGeneration": 1,
        }
        for kind, status in (
            ("ResourceReady", "True"),
            ("InferenceReady", "False"),
            ("JobStarted", "Unknown"),
            ("WorkspaceSucceeded", "False"),
        )
    ],
    "performance": {
        "metrics": {
            "peakTokensPerMinute": {
                "description": "stress",
                "value": "12.5",
                "unit": "tokens/min",
                "config": {"engine": "vllm"},
            }
        }
    },
}
FULL: dict[str, dict[str, Any]] = {
    "preset": {
        "resource": {"count": 2, "instanceType": "x", "labelSelector": SELECTOR, "preferredNodes": ["n-1"]},
        "inference": {
            "preset": PRESET,
            "config": "options",
            "adapters": [
                {"source": IMAGE_SOURCE, "strength": "0.5"},
                {"source": {"name": "coat", "volumeSource": VOLUME}},
                {"source": {"name": "scarf", "urls": ["hf://example/scarf@main"]}},
            ],
        },
    },
    "template": {
        "resource": {
            "labelSelector": SELECTOR,
            "partition": {"mode": "mig", "profile": "1g.10gb"},
        },
        "inference": {
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        },
    },
    "accelerator": {
        "resource": {"labelSelector": SELECTOR, "partition": {"mode": "accelerator", "count": 2}},
        "inference": {"preset": {"name": "phi-4", "accessMode": "public"}},
    },
    "tuning": {
        "resource": {"labelSelector": SELECTOR},
        "tuning": {
            "preset": PRESET,
            "method": "qlora",
            "config": "options",
            "input": {"name": "lessons", "urls": ["https://example.com/a"]},
            "output": {"image": "example.com/out:1", "imagePushSecret": "push"},
        },
    },
    "tuning-volumes": {
        "resource": {"labelSelector": SELECTOR},
        "tuning": {
            "preset": {"name": "phi-4", "accessMode": "public"},
            "method": "lora",
            "input": {"volumeSource": VOLUME},
            "output": {"volumeSource": VOLUME},
        },
    },
    "tuning-image": {
        "resource": {"labelSelector": SELECTOR},
        "tuning": {
            "preset": {"name": "phi-4", "accessMode": "public"},
            "method": "lora",
            "input": IMAGE_SOURCE,
            "output": {"volumeSource": VOLUME},
        },
    },
}


def body(version: str, name: str, namespace: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": f"kaito.sh/{version}", "kind": "Workspace", "metadata": meta, **FULL[name]}


def content(obj: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata")}


def set_status(apiserver: APIServer, name: str, namespace: str) -> None:
    patch = json.dumps({"status": STATUS})
    apiserver.kubectl(
        "patch", "workspace", name, f"-n={namespace}", "--subresource=status", "--type=merge", f"-p={patch}"
    )


@pytest.mark.parametrize("name", sorted(FULL))
@pytest.mark.parametrize(("written", "read"), [("v1alpha1", "v1beta1"), ("v1beta1", "v1alpha1")])
def test_no_field_is_lost_between_the_versions(apiserver, namespace, name, written, read):
    """What goes in as one version comes out whole as the other, and writing that back changes nothing."""
    apiserver.apply(body(written, name, namespace))
    set_status(apiserver, name, namespace)
    found = apiserver.get(f"workspaces.{read}.kaito.sh", name, f"-n={namespace}")
    assert content(found) == {**FULL[name], "status": STATUS}
    before = apiserver.get("workspace", name, f"-n={namespace}")
    apiserver.kubectl("replace", "--filename=-", stdin=json.dumps(found))
    assert before == apiserver.get("workspace", name, f"-n={namespace}")


def paths(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from paths(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from paths(schema[keyword], f"{path}[]")


def present(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (f"{path}.{key}", *present(inner, f"{path}.{key}"), *present(inner, f"{path}[]"))
    elif isinstance(value, list):
        for inner in value:
            yield from present(inner, f"{path}[]")


def test_the_full_objects_set_every_field():
    """So that the test above leaves none out."""
    schema = WORKSPACE.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    wanted = {path for path in paths(schema) if not path.startswith((".apiVersion", ".kind", ".metadata"))}
    assert wanted - {path for full in FULL.values() for path in present({**full, "status": STATUS})} == set()


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_columns_of_both_versions(apiserver, namespace):
    """`kubectl get workspace` shows the stored version; the first one keeps the columns of the tutorials."""
    apiserver.apply(body("v1beta1", "preset", namespace))
    set_status(apiserver, "preset", namespace)
    common = ["NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY"]
    assert [row[:-1] for row in table(apiserver.kubectl("get", "workspace", f"-n={namespace}"))] == [
        [
            "NAME",
            "INSTANCE",
            "RESOURCEREADY",
            "INFERENCEREADY",
            "JOBSTARTED",
            "WORKSPACESUCCEEDED",
            "TARGETNODECOUNT",
            "STATE",
        ],
        ["preset", "x", "True", "False", "Unknown", "False", "2", "Ready"],
    ]
    assert [row[:-1] for row in table(apiserver.kubectl("get", "workspaces.v1alpha1.kaito.sh", f"-n={namespace}"))] == [
        [*common, "WORKSPACEREADY"],
        ["preset", "x", "True", "False", "False"],
    ]


@pytest.mark.parametrize("word", ["workspace", "workspaces", "wk", "wks", "kaito"])
def test_short_names_and_categories(apiserver, namespace, word):
    """As upstream's."""
    apiserver.apply(body("v1beta1", "preset", namespace))
    assert "preset" in apiserver.kubectl("get", word, f"-n={namespace}", "--output=name")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("workspace", "A model to serve or to fine-tune, with the nodes it needs."),
        ("workspace.inference", "A model to serve with an OpenAI-compatible API: exactly one of"),
        ("workspace.resource.instanceType", "Left out, existing nodes are used."),
        ("workspace.tuning.output", "Where the adapter goes."),
        ("nodeclaim.spec", "The machine that is asked for."),
    ],
)
def test_explain_reads_well(apiserver, path, says):
    """Every level says what it is for, in both versions."""
    told = " ".join(apiserver.kubectl("explain", path).split())
    assert says in told


def test_explain_marks_what_is_required(apiserver):
    """The name of a preset is."""
    told = apiserver.kubectl("explain", "workspace.inference.preset", "--api-version=kaito.sh/v1alpha1")
    assert "name\t<string> -required-" in told


def test_the_default_kustomization_passes_a_server_dry_run(apiserver):
    """`kubectl apply -k config/default` would be accepted whole, once its namespace is there."""
    apiserver.create_namespace("kaito-system")
    done = apiserver.kubectl("apply", "-k", ROOT / "config" / "default", "--dry-run=server")
    for what in ("customresourcedefinition", "clusterrole.", "deployment.apps/kaito-controller", "validatingadmission"):
        assert what in done


def sample_ids() -> list[str]:
    return [path.stem for path in SAMPLES]


@pytest.mark.parametrize("path", SAMPLES, ids=sample_ids())
def test_a_sample_is_admitted(apiserver, namespace, path):
    """Each stands alone and is accepted as it is, with strict decoding."""
    done = apiserver.kubectl("create", "--dry-run=server", "--validate=strict", f"-n={namespace}", f"--filename={path}")
    assert "workspace.kaito.sh/" in done


def test_the_samples_name_each_object_once():
    """So that all of them can be applied beside one another."""
    names = [
        (one["kind"], one["metadata"]["name"])
        for path in SAMPLES
        for one in YAML(typ="safe", pure=True).load_all(path.read_text())
    ]
    assert len(names) == len(set(names))


PROBE = {"annotations": {"kaito.sh/runtime": "probe"}}


@pytest.fixture(scope="module")
def guarded(apiserver: APIServer) -> Iterator[APIServer]:
    """The API server with our admission policies at work (they start to act a moment after they are written).

    Afterwards they act no more: other tests make objects that are older than these rules.
    """
    apiserver.kubectl("apply", "-k", ROOT / "config" / "admission")
    space = apiserver.create_namespace("guarded")
    eventually("the policy acts", lambda: _refusal(apiserver, space, PROBE) != "", timeout_s=30)
    yield apiserver
    apiserver.kubectl("delete", "-k", ROOT / "config" / "admission")
    eventually("the policy no longer acts", lambda: _refusal(apiserver, space, PROBE) == "", timeout_s=30)


def _refusal(apiserver: APIServer, namespace: str, meta: Mapping[str, Any], *, name: str = "preset") -> str:
    one = body("v1alpha1", name, namespace)
    one["metadata"] |= meta
    try:
        apiserver.kubectl("apply", "--dry-run=server", "--filename=-", stdin=json.dumps(one))
    except KubectlError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({"annotations": {"kaito.sh/runtime": "llama.cpp"}}, "metadata.annotations[kaito.sh/runtime]: must be one of"),
        ({"annotations": {"kaito.sh/performance-mode": "fast"}}, "balanced, interactivity, throughput"),
        ({"annotations": {"kaito.sh/use-local-weights": "yes"}}, "found yes"),
        ({"annotations": {"kaito.sh/node-image-family": "windows"}}, "ubuntu, azurelinux; correct or remove it"),
        ({"annotations": {"kaito.sh/weights": "https://example.com/m"}}, "must be one of hf://ORGANISATION/MODEL"),
        ({"annotations": {"kaito.sh/weights": "pvc://models/../others"}}, "found pvc://models/../others"),
        ({"annotations": {"kaito.sh/weights": "oci://registry.example/m@sha256:12"}}, "correct or remove it"),
        ({"annotations": {"kaito.sh/weights": "node://relative"}}, "node:///PATH"),
        ({"annotations": {"kaito.sh/weights": ""}}, "metadata.annotations[kaito.sh/weights]"),
        ({"labels": {"kaito.sh/inference-role": "both"}}, "metadata.labels[kaito.sh/inference-role]: must be one of"),
    ],
)
def test_a_wrong_annotation_or_label_is_refused_at_apply_time(guarded, meta, says):
    """CRD rules cannot see them; the admission policy can, in either version."""
    assert says in _refusal(guarded, "guarded", meta)


def test_right_annotations_are_admitted(guarded):
    """Upper case and blanks are forgiven where upstream forgives them."""
    assert _refusal(guarded, "guarded", {"annotations": {"kaito.sh/node-image-family": " Ubuntu"}}) == ""
    assert _refusal(guarded, "guarded", {"annotations": {"kaito.sh/enablelb": "True", "other": "x"}}) == ""


@pytest.mark.parametrize(
    "uri",
    [
        "hf://microsoft/phi-4@0123abc",
        f"oci://registry.example:5000/models/phi:4@sha256:{'a' * 64}",
        "pvc://models/org/phi-4",
        "node:///opt/kaito/models/phi-4",
        "s3://models/phi-4/",
        "az://models",
    ],
)
def test_every_place_of_weights_is_admitted(guarded, uri):
    """The very pattern that the operator reads them by."""
    assert _refusal(guarded, "guarded", {"annotations": {"kaito.sh/weights": uri}}) == ""


def test_an_old_wrong_annotation_does_not_lock_the_object(guarded):
    """Only a changed value is checked, so finalizers and status can still be written."""
    one = body("v1beta1", "template", "guarded")
    binding = "validatingadmissionpolicybinding/workspace-metadata.kaito.sh"
    guarded.kubectl("delete", binding)
    one["metadata"]["annotations"] = {"kaito.sh/runtime": "old"}

    def admitted() -> bool:
        try:
            guarded.apply(one)
        except KubectlError:
            return False
        return True

    eventually("the policy no longer acts", admitted, timeout_s=30)
    guarded.kubectl("apply", "-k", ROOT / "config" / "admission")
    eventually(
        "the policy acts",
        lambda: _refusal(guarded, "guarded", {"annotations": {"kaito.sh/runtime": "probe"}}) != "",
        timeout_s=30,
    )
    guarded.kubectl("annotate", "workspace", "template", "-n=guarded", "more=1")
    assert guarded.get("workspace", "template", "-n=guarded")["metadata"]["annotations"]["more"] == "1"
    with pytest.raises(KubectlError, match=r"kaito\.sh/runtime\]: must be one of vllm, transformers"):
        guarded.kubectl("annotate", "workspace", "template", "-n=guarded", "--overwrite", "kaito.sh/runtime=new")
