"""Golden manifests: what each kind of preset becomes in a cluster, as a file that a reviewer can read."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.architecture import Mixer
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset
from kaito_controller.controllers.workspace.plan import Settings
from kaito_controller.controllers.workspace.planning import plan_workspace
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.tuning import TuningPlan
from kaito_controller.kube import serde
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.disk import disk_bytes
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.inference import InferencePlan, plan_inference
from kaito_controller.testing.builders import tuning_workspace
from kaito_controller.testing.strict_models import problems
from kaito_controller.workloads.adapters import AdapterRoom, wanted_map
from kaito_controller.workloads.inference import stateful_set
from kaito_controller.workloads.node_claim import node_claim, node_labels
from kaito_controller.workloads.runtimes.parameters import resolve_parameters
from kaito_controller.workloads.service import headless_service, service

CATALOG = load()
DATA = Path(__file__).parent / "data"
UID = "5a3b7c1e-0000-4000-8000-000000000001"
SELECTOR = {"apps": "golden"}
HOST_PARAMETERS = {
    "interpreter": "/opt/python",
    "environment": "/var/cache/kaito/inference",
    "source": "/srv/kaito",
    "models": "/var/cache/kaito/models",
}

# One preset of each family and architecture on A100s, but for attention that no plan knows; the tutorial's example on
# its V100; a large model on a whole node; the taught one on a CPU.
KINDS = {(preset.family, preset.architecture.name): preset for preset in reversed(CATALOG.presets)}
HUB_CASES = [
    (made.name, "Standard_NC24ads_A100_v4")
    for made in KINDS.values()
    if made.weights_folder is None and (Mixer.COMPRESSED,) not in made.architecture.mixers
]
CASES = [
    *HUB_CASES,
    ("phi-3-mini-4k-instruct", "Standard_NC6s_v3"),
    ("llama-3.3-70b-instruct", "Standard_ND96isr_H100_v5"),
    *((preset.name, "Standard_NC6s_v3") for preset in CATALOG.presets if preset.weights_folder is not None),
]
TUNINGS = {
    "tuning-lora": ("phi-4-mini-instruct", "Standard_NC96ads_A100_v4", {"method": "lora"}),
    "tuning-qlora": (
        "llama-3.3-70b-instruct",
        "Standard_NC24ads_A100_v4",
        {
            "preset": {"name": "llama-3.3-70b-instruct", "presetOptions": {"modelAccessSecret": "hub"}},
            "method": "qlora",
            "config": "mine",
            "input": {"image": "registry.example.com/data:1", "imagePullSecrets": ["pull"]},
            "output": {"volumeSource": {"persistentVolumeClaim": {"claimName": "adapters"}}},
        },
    ),
    "tuning-cpu": (
        "tiny-phi3",
        "Standard_NC6s_v3",
        {"method": "lora", "input": {"volumeSource": {"persistentVolumeClaim": {"claimName": "data"}}}},
    ),
}
TRAINING_CONFIG = {
    "data": {
        "training_config.yaml": "training_config: {QuantizationConfig: {load_in_4bit: true}, "
        "TrainingArguments: {per_device_train_batch_size: 1}}"
    }
}
# Models served with transformers, on a GPU and on the CPU, and by an image for the CPU.
CASES += [
    ("phi-4-mini-instruct", "Standard_NC24ads_A100_v4/transformers-cuda"),
    ("qwen3-0.6b", "Standard_NC24ads_A100_v4/vllm-cpu"),
    ("tiny-phi3", "Standard_NC6s_v3/transformers-cpu-host"),
]
RUNTIMES = {"v100-16gb": "vllm-cuda-v100"}
MODELS = {"StatefulSet": "V1StatefulSet", "Service": "V1Service", "Job": "V1Job", "ConfigMap": "V1ConfigMap"}
# Adapters of every kind of source, as a Workspace may ask for them.
ADAPTER_CASES = [("phi-4", "Standard_NC24ads_A100_v4"), ("tiny-phi3", "Standard_NC6s_v3")]
CLAIM = {"persistentVolumeClaim": {"claimName": "adapters"}}
ADAPTERS = [
    {"source": {"name": "image", "image": "registry.example.com/a:1", "imagePullSecrets": ["registry"]}},
    {"source": {"name": "volume", "volumeSource": CLAIM}, "strength": "0.5"},
    {"source": {"name": "hub", "urls": ["hf://organisation/adapter@main"]}},
]
ROOM = AdapterRoom(secrets=("registry",), volumes={"volume": CLAIM})


def workspace(preset: Preset, instance_type: str, *, adapters: bool = False) -> Workspace:
    return serde.structure(
        Workspace,
        {
            "apiVersion": "kaito.sh/v1beta1",
            "kind": "Workspace",
            "metadata": {"name": "golden", "namespace": "default", "uid": UID},
            "resource": {"instanceType": instance_type, "labelSelector": {"matchLabels": SELECTOR}},
            "inference": {"preset": {"name": preset.name}, "adapters": ADAPTERS if adapters else []},
        },
    )


def manifests(preset: Preset, where: str) -> list[Object]:
    """Every object that the Workspace wants, in the order in which they are written; `where` may name a runtime too."""
    local = preset.weights_folder is not None
    instance_type, _, other = where.partition("/")
    sku = CATALOG.sku(instance_type)
    runtime = CATALOG.runtime(other or ("vllm-cpu-host" if local else RUNTIMES.get(sku.gpu.name, "vllm-cuda")))
    plan = plan_inference(preset, sku, runtime=runtime)
    assert isinstance(plan, InferencePlan), plan
    made = workspace(preset, instance_type)
    parameters = resolve_parameters(runtime, HOST_PARAMETERS if local else {})
    return [
        *(node_claim(made, index, sku=sku, storage_bytes=disk_bytes(preset)) for index in range(plan.node_count)),
        service(made),
        headless_service(made),
        stateful_set(made, preset, plan, runtime, parameters=parameters, node_pins=node_labels(made), revision="1"),
    ]


def tuning_manifests(name: str) -> list[Object]:
    """The NodeClaim and the Job of a Workspace that tunes."""
    preset, instance_type, tuning = TUNINGS[name]
    runtime = CATALOG.runtime("vllm-cpu-host" if name == "tuning-cpu" else "vllm-cuda")
    parameters = resolve_parameters(runtime, HOST_PARAMETERS if name == "tuning-cpu" else {})
    raw = tuning_workspace(
        "golden", namespace="default", preset=preset, instance_type=instance_type, tuning=tuning, match_labels=SELECTOR
    )
    raw["metadata"]["uid"] = UID
    snapshot = Snapshot(raw=raw, workspace=serde.structure(Workspace, raw), config=TRAINING_CONFIG)
    plan = plan_workspace(snapshot, CATALOG, Settings(runtime=runtime, runtime_parameters=parameters))
    assert isinstance(plan, TuningPlan), plan
    return [plan.claim(0), plan.job]


def file_name(preset: str, where: str) -> str:
    return f"{preset}.{where.replace('/', '.')}.yaml"


def manifests_with_adapters(preset: Preset, instance_type: str) -> list[Object]:
    """What differs once adapters are wanted: the list, and pods with an agent."""
    local = preset.weights_folder is not None
    sku = CATALOG.sku(instance_type)
    runtime = CATALOG.runtime("vllm-cpu-host" if local else "vllm-cuda")
    plan = plan_inference(preset, sku, runtime=runtime, flags=EngineFlags(enable_lora=True, max_loras=ROOM.slots))
    assert isinstance(plan, InferencePlan), plan
    made = workspace(preset, instance_type, adapters=True)
    parameters = resolve_parameters(runtime, HOST_PARAMETERS if local else {})
    pins = node_labels(made)
    pods = stateful_set(made, preset, plan, runtime, parameters=parameters, node_pins=pins, revision="1", room=ROOM)
    return [wanted_map(made), pods]


def text_of(objects: list[Object]) -> str:
    yaml = YAML(typ="rt", pure=True)
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    yaml.explicit_start = True
    # The same dictionary at two places is written out twice, not as an alias.
    yaml.representer.ignore_aliases = lambda _: True
    stream = StringIO()
    for made in objects:
        yaml.dump(made, stream)
    return stream.getvalue()


@pytest.mark.parametrize(("preset", "where"), CASES)
def test_manifests_are_as_reviewed(preset: str, where: str, regen: bool):
    """What is generated equals the golden file; a wanted change is written with --regen and reviewed."""
    path = DATA / file_name(preset, where)
    made = text_of(manifests(CATALOG.preset(preset), where))
    if regen:
        path.write_text(made)

    assert path.exists(), f"{path.name} is not there: run pytest test/golden --regen, then read what it wrote"
    assert made == path.read_text()


@pytest.mark.parametrize(("preset", "instance_type"), ADAPTER_CASES)
def test_manifests_with_adapters_are_as_reviewed(preset: str, instance_type: str, regen: bool):
    """The same for a Workspace with adapters; every object is what Kubernetes takes."""
    path = DATA / f"{preset}.{instance_type}.adapters.yaml"
    made = manifests_with_adapters(CATALOG.preset(preset), instance_type)
    if regen:
        path.write_text(text_of(made))
    assert text_of(made) == path.read_text()
    for one in made:
        assert problems(MODELS[one["kind"]], one) == []


@pytest.mark.parametrize(("preset", "where"), CASES)
def test_manifests_are_what_kubernetes_takes(preset: str, where: str):
    """Every object passes the strict models of the kubernetes package; NodeClaims pass our own type."""
    for made in manifests(CATALOG.preset(preset), where):
        if made["kind"] in MODELS:
            assert problems(MODELS[made["kind"]], made) == []


@pytest.mark.parametrize("name", TUNINGS)
def test_tuning_manifests_are_as_reviewed(name: str, regen: bool):
    """The same of the Jobs: data from the web, an image and a volume; the adapter into an image and a volume."""
    path = DATA / f"{name}.yaml"
    made = tuning_manifests(name)
    if regen:
        path.write_text(text_of(made))

    assert text_of(made) == path.read_text()
    assert problems("V1Job", made[1]) == []


def test_no_golden_file_is_left_behind():
    """A preset that is gone takes its golden file with it."""
    expected = {file_name(preset, where) for preset, where in CASES}
    expected |= {f"{name}.yaml" for name in TUNINGS}
    expected |= {f"{preset}.{instance_type}.adapters.yaml" for preset, instance_type in ADAPTER_CASES}

    assert {path.name for path in DATA.iterdir()} == expected
