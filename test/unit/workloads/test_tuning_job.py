"""The Job that tunes: that its containers say what the program in them understands, and see what they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from inference_server import contract
from inference_server.tune import arguments
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


def job_of(catalog: Catalog, tuning: Mapping[str, Any], **options: Any) -> Object:
    workspace = serde.structure(Workspace, tuning_workspace(tuning=tuning))
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
    assert fetch.model == tune.model == "microsoft/Phi-4-mini-instruct"
    assert fetch.model_folder == tune.model_folder
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
