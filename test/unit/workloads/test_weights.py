"""How a model's files get into a pod, for each place that a Workspace may name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from inference_server import contract
from inference_server.agent import options
from kaito_controller.api import labels as keys
from kaito_controller.api.weights_uri import Scheme, WeightsUri
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.loader import Catalog
from kaito_controller.kube.metadata import Object
from kaito_controller.testing.strict_models import problems
from kaito_controller.workloads.inference import PodOptions
from kaito_controller.workloads.weights import weights_of
from kaito_controller.workloads.weights_cache import WeightsCache

MakeWorkspace = Callable[..., Workspace]
Serve = Callable[..., Object]
DIGEST = f"sha256:{'a' * 64}"
SECRETS = {"modelAccessSecret": "access", "imagePullSecrets": ["registry", "mirror"]}


def asking(workspace: MakeWorkspace, uri: str, name: str = "phi-4") -> Workspace:
    preset = {"name": name, "presetOptions": SECRETS}
    return workspace(metadata={"annotations": {keys.WEIGHTS: uri}}, inference={"preset": preset})


def pod_of(made: Object) -> dict[str, Any]:
    assert problems("V1StatefulSet", made) == []
    pod: dict[str, Any] = made["spec"]["template"]["spec"]
    return pod


def value(container: Object, name: str) -> str | None:
    words = container["args"]
    return words[words.index(name) + 1] if name in words else None


def variables(container: Object) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def mounted(container: Object) -> dict[str, dict[str, Any]]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def test_a_model_of_the_hub_is_fetched_beside_the_engine(workspace: MakeWorkspace, serve: Serve):
    """A sidecar that nothing waits for; the engine reads what it may not write, offline, without the hub's token."""
    preset = {"name": "llama-3.1-8b-instruct", "presetOptions": SECRETS}
    pod = pod_of(serve(workspace(inference={"preset": preset})))
    (agent,), (engine,) = pod["initContainers"], pod["containers"]

    assert (agent["name"], agent["restartPolicy"]) == (contract.AGENT_CONTAINER, "Always")
    assert not {"startupProbe", "readinessProbe"} & set(agent)
    assert value(agent, contract.ARG_WEIGHTS) == "hf://meta-llama/Llama-3.1-8B-Instruct"
    assert variables(agent)["HF_TOKEN"]["secretKeyRef"]["name"] == "access"
    assert variables(engine)["HF_HUB_OFFLINE"] == "1"
    assert "HF_TOKEN" not in variables(engine)
    assert value(engine, contract.ARG_MODEL) == (
        f"/workspace/weights/{contract.weights_folder_name('hf://meta-llama/Llama-3.1-8B-Instruct')}"
    )
    assert value(engine, contract.ARG_WEIGHTS_AGENT) == "http://127.0.0.1:5001"
    assert value(engine, contract.ARG_ARCHITECTURE) == "LlamaForCausalLM"
    assert mounted(engine)["/workspace/weights"]["readOnly"] is True
    assert "readOnly" not in mounted(agent)["/workspace/weights"]
    assert agent["securityContext"] == engine["securityContext"]


def test_the_pods_of_a_model_that_spans_nodes_know_each_other(workspace: MakeWorkspace, serve: Serve):
    """So that all bring one revision; the agent's own parser reads where they are."""
    many = serve(workspace("llama-3.3-70b-instruct", resource={"instanceType": "Standard_NC24ads_A100_v4"}))
    (agent,) = pod_of(many)["initContainers"]
    rank = variables(agent)[contract.ENV_POD_INDEX]["fieldRef"]["fieldPath"]
    found = options.parse([word.replace(f"$({contract.ENV_POD_INDEX})", "1") for word in agent["args"]])

    assert rank == "metadata.labels['apps.kubernetes.io/pod-index']"
    assert found.weights is not None
    name, nodes = many["metadata"]["name"], many["spec"]["replicas"]
    hosts = [f"{name}-{number}.{name}-headless.{many['metadata']['namespace']}.svc" for number in range(nodes)]
    assert nodes > 1
    assert found.weights.peers.urls == tuple(f"http://{host}:5001" for host in hosts)
    assert found.weights.peers.rank == 1
    alone = pod_of(serve(workspace()))["initContainers"][0]
    assert contract.ARG_WEIGHTS_PEERS not in alone["args"]


def test_an_image_is_pulled_with_its_own_secrets(workspace: MakeWorkspace, serve: Serve):
    """Mounted in the agent alone, one folder each; the hub's token is nobody's then."""
    uri = f"oci://registry.example:5000/models/phi:4@{DIGEST}"
    pod = pod_of(serve(asking(workspace, uri)))
    (agent,), (engine,) = pod["initContainers"], pod["containers"]

    assert agent["args"] == ["--weights", uri, "--pull-secret", "registry", "--pull-secret", "mirror"]
    assert {"/mnt/secrets/registry", "/mnt/secrets/mirror"} <= set(mounted(agent))
    assert not any(path.startswith("/mnt/secrets") for path in mounted(engine))
    assert "HF_TOKEN" not in variables(agent)


def test_an_artifact_that_the_preset_names_is_pulled_at_the_digest_that_was_planned(
    catalog: Catalog, workspace: MakeWorkspace
):
    """Its tag may move between planning and pulling."""
    preset = evolve(catalog.preset("phi-4"), model_id="oci://registry.example/models/phi:4", revision=DIGEST)
    made = weights_of(workspace(), preset, catalog.runtime("vllm-cuda"), {})

    assert made.fetch is not None
    assert made.fetch.uri == f"oci://registry.example/models/phi:4@{DIGEST}"


@pytest.mark.parametrize(
    ("uri", "location"), [("pvc://models", "/mnt/model"), ("pvc://models/org/phi-4", "/mnt/model/org/phi-4")]
)
def test_a_claim_is_read_where_it_is(workspace: MakeWorkspace, serve: Serve, uri: str, location: str):
    """Read-only, without a copy and without an agent."""
    pod = pod_of(serve(asking(workspace, uri)))
    (engine,) = pod["containers"]

    assert "initContainers" not in pod
    assert value(engine, contract.ARG_MODEL) == location
    assert mounted(engine)["/mnt/model"]["readOnly"] is True
    (volume,) = [one for one in pod["volumes"] if one["name"] == mounted(engine)["/mnt/model"]["name"]]
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}


def test_local_weights_are_where_kaito_puts_them(workspace: MakeWorkspace, serve: Serve):
    """The folder is named after the preset, in lower case, with dashes for slashes."""
    asked = workspace("microsoft/phi-4", metadata={"annotations": {keys.USE_LOCAL_WEIGHTS: "true"}})
    pod = pod_of(serve(asked))
    (volume,) = [one for one in pod["volumes"] if "hostPath" in one]

    assert volume["hostPath"] == {"path": "/opt/kaito/models/microsoft-phi-4", "type": "Directory"}
    assert value(pod["containers"][0], contract.ARG_MODEL) == "/mnt/model"


def test_a_bucket_is_streamed_with_the_keys_of_a_secret(workspace: MakeWorkspace, serve: Serve):
    """The streamer is vLLM's own; every key is optional, as a node's own identity may do."""
    (engine,) = pod_of(serve(asking(workspace, "s3://models/phi-4")))["containers"]

    assert value(engine, contract.ARG_MODEL) == "s3://models/phi-4"
    assert value(engine, contract.ARG_LOAD_FORMAT) == "runai_streamer"
    key = variables(engine)["AWS_SECRET_ACCESS_KEY"]["secretKeyRef"]
    assert key == {"name": "access", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}


def test_googles_key_is_a_file(workspace: MakeWorkspace, serve: Serve):
    """Its clients take a path."""
    (engine,) = pod_of(serve(asking(workspace, "gs://models/phi-4")))["containers"]
    path = variables(engine)["GOOGLE_APPLICATION_CREDENTIALS"]

    assert path.rpartition("/")[0] in mounted(engine)


def test_a_cache_on_the_node_is_shared_by_its_pods(workspace: MakeWorkspace, serve: Serve):
    """The agent's folder is the node's; the engine still only reads."""
    options = PodOptions(weights_cache=WeightsCache.parse("hostPath:/var/lib/kaito/weights"))
    made = serve(workspace("phi-4"), options=options)
    pod = pod_of(made)
    name = mounted(pod["initContainers"][0])["/workspace/weights"]["name"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == name]

    assert volume["hostPath"] == {"path": "/var/lib/kaito/weights", "type": "DirectoryOrCreate"}
    assert mounted(pod["containers"][0])["/workspace/weights"]["readOnly"] is True


def test_a_storage_class_gives_each_replica_a_claim_that_outlives_its_pods(workspace: MakeWorkspace, serve: Serve):
    """Upstream's name and size: the weights and 80 GiB; it goes with the Workspace."""
    options = PodOptions(weights_cache=WeightsCache.parse("storageClass:kaito-local-nvme-disk"))
    made = serve(workspace("phi-4"), options=options)
    (claim,) = made["spec"]["volumeClaimTemplates"]

    assert claim["metadata"]["name"] == "model-weights-volume"
    assert claim["spec"]["storageClassName"] == "kaito-local-nvme-disk"
    assert claim["spec"]["resources"]["requests"]["storage"] == "107Gi"
    assert made["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenScaled": "Retain", "whenDeleted": "Delete"}
    assert "model-weights-volume" not in {volume["name"] for volume in pod_of(made)["volumes"]}


def test_nothing_is_cached_that_is_not_fetched(workspace: MakeWorkspace, serve: Serve):
    """A claim's model needs no disk of the node."""
    options = PodOptions(weights_cache=WeightsCache.parse("storageClass:fast"))

    assert "volumeClaimTemplates" not in serve(asking(workspace, "pvc://models"), options=options)["spec"]


def test_a_hub_elsewhere_and_code_are_the_agents_business(workspace: MakeWorkspace, serve: Serve):
    """A mirror's address reaches who asks it; a model's programs are fetched only where they are trusted."""
    (agent,) = pod_of(serve(workspace("phi-4"), options=PodOptions(hub="https://hub.example", trusts_code=True)))[
        "initContainers"
    ]

    assert variables(agent)["HF_ENDPOINT"] == "https://hub.example"
    assert value(agent, contract.ARG_WEIGHTS_CODE) == "true"


def test_a_runtime_without_an_agent_downloads_itself(catalog: Catalog, workspace: MakeWorkspace):
    """As whoever starts the engine by hand."""
    runtime = evolve(catalog.runtime("vllm-cuda"), agent=None)
    made = weights_of(asking(workspace, "hf://org/model@main"), catalog.preset("phi-4"), runtime, {})

    assert (made.location, made.by_engine) == ("org/model", True)
    assert made.arguments[contract.ARG_REVISION] == ("main",)


@pytest.mark.parametrize(
    "text",
    [
        "hf://microsoft/phi-4",
        "hf://microsoft/phi-4@0123abc",
        "oci://registry.example/models/phi",
        f"oci://localhost:5000/phi:4@{DIGEST}",
        "pvc://models",
        "pvc://models/a/b",
        "node:///opt/kaito/models/phi",
        "s3://bucket/path/",
        "gs://bucket",
        "az://container/models/phi",
    ],
)
def test_uris(text: str):
    """Every form that is promised."""
    found = WeightsUri.parse(text)

    assert found is not None
    assert str(found) == text
    assert found.scheme in set(Scheme)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "phi-4",
        "hf://phi-4",
        "https://example.com/model",
        "oci://registry.example",
        "oci://registry.example/Phi",
        "oci://registry.example/phi@sha256:12",
        "pvc://",
        "pvc://Models",
        "pvc://models/../secrets",
        "node://opt/models",
        "node:///",
        "node:///opt/../etc",
        "s3://",
        "file:///etc",
        "hf://a/b\n",
        f"pvc://models/{'a' * 1024}",
    ],
)
def test_no_uris(text: str):
    """Each is refused whole; nothing of it is guessed at."""
    assert WeightsUri.parse(text) is None


@pytest.mark.parametrize("text", ["", "disk", "hostPath", "hostPath:", "hostPath:var", "hostPath:/a/../b", "pod:x"])
def test_no_caches(text: str):
    """The flag's forms are told."""
    with pytest.raises(ValueError, match="wants"):
        WeightsCache.parse(text)
