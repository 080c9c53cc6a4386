"""The Job that tunes: that its containers say what the program in them understands, and see what they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import evolve

from inference_server import contract
from inference_server.tune import arguments
from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.loader import Catalog
from kaito_controller.kube import serde
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.tuning import TrainingOptions, TuningSize, plan_tuning
from kaito_controller.testing.builders import tuning_workspace
from kaito_controller.testing.strict_models import problems
from kaito_controller.workloads.runtimes.parameters import resolve_parameters
from kaito_controller.workloads.tuning import FINAL_EXIT_CODES, TuningPod, job

VOLUME = {"persistentVolumeClaim": {"claimName": "mine"}}
IMAGE = {"image": "registry.example.com/data:1", "imagePullSecrets": ["one", "two", "one"]}


def job_of(catalog: Catalog, tuning: Mapping[str, Any], weights: str = "", **options: Any) -> Object:
    workspace = serde.structure(Workspace, tuning_workspace(tuning=tuning))
    if weights:
        metadata = evolve(workspace.metadata, annotations={keys.WEIGHTS: weights})
        workspace = evolve(workspace, metadata=metadata)
    assert workspace.tuning is not None
    assert workspace.preset is not None
    runtime, preset = catalog.runtime("vllm-cuda"), catalog.preset(workspace.preset.name)
    size = plan_tuning(preset, catalog.sku("Standard_NC96ads_A100_v4"), runtime=runtime, options=TrainingOptions())
    assert isinstance(size, TuningSize)
    assert runtime.tuning is not None
    pod = TuningPod(
        workspace=workspace,
        spec=workspace.tuning,
        preset=preset,
        size=size,
        runtime=runtime,
        container=runtime.tuning,
        parameters=resolve_parameters(runtime, {}),
        **options,
    )
    return job(pod)


def containers(made: Object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two, fetch first."""
    spec = made["spec"]["template"]["spec"]
    (fetch,), (tune,) = spec["initContainers"], spec["containers"]
    return fetch, tune


def mounts(container: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def variables(container: Mapping[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in container["env"]}


@pytest.mark.parametrize(
    "tuning",
    [
        {},
        {"method": "QLoRA", "config": "mine"},
        {"input": IMAGE},
        {"input": {"volumeSource": VOLUME}, "output": {"volumeSource": VOLUME}},
        {"input": {"urls": ["https://data.example.com/a", "https://data.example.com/b"]}},
    ],
)
def test_the_program_understands_its_arguments(catalog: Catalog, tuning: dict[str, Any]):
    """Both containers' words are read by the very parser of the program, and mean what the Workspace says."""
    made = job_of(catalog, tuning, private_urls=("10.0.0.0/8",))
    fetch, tune = (arguments.parse(container["args"]) for container in containers(made))

    assert (fetch.command, tune.command) == ("fetch", "run")
    assert fetch.method == tune.method == tuning.get("method", "lora").lower()
    assert fetch.model == tune.model
    assert fetch.weights == "hf://microsoft/Phi-4-mini-instruct"
    assert fetch.model.is_relative_to(contract.WEIGHTS_DIRECTORY)
    assert str(fetch.data) == str(tune.data) == contract.DATA_DIRECTORY
    assert tune.model_name == "phi-4-mini-instruct"
    assert bool(tune.config_file) == bool(tuning.get("config"))
    source = tuning.get("input", {"urls": ["https://data.example.com/train.jsonl"]})
    assert list(fetch.data_urls) == source.get("urls", [])
    assert fetch.data_image == source.get("image")
    assert [str(network) for network in fetch.private] == ["10.0.0.0/8"]
    pushes = "output" not in tuning
    assert [folder.name for folder in tune.push_secrets] == (["push"] if pushes else [])
    assert problems("V1Job", made) == []


def test_each_container_sees_its_own_secrets_once(catalog: Catalog):
    """What trains cannot read what opens the data's registry."""
    made = job_of(catalog, {"input": IMAGE})
    fetch, tune = containers(made)

    assert {path for path in mounts(fetch) if path.startswith("/mnt/secrets")} == {
        "/mnt/secrets/one",
        "/mnt/secrets/two",
    }
    assert {path for path in mounts(tune) if path.startswith("/mnt/secrets")} == {"/mnt/secrets/push"}
    secrets = [one["secret"] for one in made["spec"]["template"]["spec"]["volumes"] if "secret" in one]
    assert [secret["secretName"] for secret in secrets] == ["one", "two", "push"]
    assert all([item["key"] for item in secret["items"]] == [".dockerconfigjson", "ca.crt"] for secret in secrets)


def test_the_hubs_token_is_for_fetching_alone(catalog: Catalog):
    """It is never an argument, and what trains has no use for it."""
    preset = {"name": "phi-4-mini-instruct", "presetOptions": {"modelAccessSecret": "hub"}}
    fetch, tune = containers(job_of(catalog, {"preset": preset}))

    (token,) = [one for one in fetch["env"] if one["name"] == "HF_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"]["name"] == "hub"
    assert "HF_TOKEN" not in {one["name"] for one in tune["env"]}
    assert variables(tune)["HF_HUB_OFFLINE"] == "1"


def test_a_base_model_of_a_registry_is_pulled_with_its_own_secret(catalog: Catalog):
    """Beside the data's; the hub is not asked, and gets no token."""
    preset = {
        "name": "phi-4-mini-instruct",
        "presetOptions": {"imagePullSecrets": ["models"], "modelAccessSecret": "hub"},
    }
    made = job_of(catalog, {"preset": preset, "input": IMAGE}, weights="oci://r.example/models/phi:1")
    fetch, tune = containers(made)
    found = arguments.parse(fetch["args"])

    assert found.weights == "oci://r.example/models/phi:1"
    assert [folder.name for folder in found.pull_secrets] == ["one", "two", "models"]
    assert {"/mnt/secrets/models"} <= mounts(fetch).keys()
    assert "/mnt/secrets/models" not in mounts(tune)
    assert variables(fetch).keys() & {"HF_TOKEN", "HF_ENDPOINT"} == set()
    assert problems("V1Job", made) == []


@pytest.mark.parametrize(
    ("weights", "folder", "source"),
    [
        ("pvc://models/phi", "/mnt/model/phi", "persistentVolumeClaim"),
        ("node:///opt/kaito/models/phi", "/mnt/model", "hostPath"),
    ],
)
def test_a_base_model_of_a_volume_is_read_where_it_is(catalog: Catalog, weights: str, folder: str, source: str):
    """By both containers, and written by none."""
    made = job_of(catalog, {}, weights=weights, hub="https://hub.example")

    for container in containers(made):
        found = arguments.parse(container["args"])
        assert (str(found.model), found.weights) == (folder, None)
        assert mounts(container)["/mnt/model"]["readOnly"] is True
        assert variables(container)["HF_HUB_OFFLINE"] == "1"
    (volume,) = [one for one in made["spec"]["template"]["spec"]["volumes"] if one["name"] == "model-weights"]
    assert source in volume
    assert problems("V1Job", made) == []


def test_another_hub_is_asked_by_what_fetches(catalog: Catalog):
    """A mirror inside the cluster, as for the agent of serving pods."""
    fetch, tune = containers(job_of(catalog, {}, hub="https://hub.example"))

    assert variables(fetch)["HF_ENDPOINT"] == "https://hub.example"
    assert "HF_ENDPOINT" not in variables(tune)


def test_a_users_volume_of_data_is_only_read(catalog: Catalog):
    """Training writes to the results alone."""
    made = job_of(
        catalog, {"input": {"volumeSource": {**VOLUME, "name": "theirs"}}, "output": {"volumeSource": VOLUME}}
    )
    fetch, tune = containers(made)

    assert mounts(fetch)["/mnt/data"]["readOnly"] is mounts(tune)["/mnt/data"]["readOnly"] is True
    assert "readOnly" not in mounts(tune)["/mnt/results"]
    names = {one["name"] for one in made["spec"]["template"]["spec"]["volumes"]}
    assert {"data-volume", "results-volume"} <= names
    assert "theirs" not in names


def test_all_gpus_of_the_node_are_held(catalog: Catalog):
    """A copy of the model on each, and nobody else beside."""
    fetch, tune = containers(job_of(catalog, {}))

    assert tune["resources"] == {"requests": {"nvidia.com/gpu": "4"}, "limits": {"nvidia.com/gpu": "4"}}
    assert "resources" not in fetch


def test_what_would_end_the_same_way_is_not_tried_again(catalog: Catalog):
    """Wrong data ends the Job; a registry that is down does not, nor does a node that is drained."""
    spec = job_of(catalog, {})["spec"]
    disrupted, final = spec["podFailurePolicy"]["rules"]

    assert disrupted["action"] == "Ignore"
    assert final["onExitCodes"]["values"] == [2, 65, 66, 78] == list(FINAL_EXIT_CODES)
    assert contract.EXIT_UNAVAILABLE not in FINAL_EXIT_CODES
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["backoffLimit"] > 0
    assert "ttlSecondsAfterFinished" not in spec
