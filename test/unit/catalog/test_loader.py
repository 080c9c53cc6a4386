"""The catalogue's loader: what it accepts, and how its errors read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito_controller.catalog.fields import CatalogError
from kaito_controller.catalog.hardware import ComputeCapability
from kaito_controller.catalog.loader import (
    Catalog,
    UnknownInstanceType,
    UnknownPreset,
    UnknownRuntime,
    load,
    prices_of,
)
from kaito_controller.sizing.inference import InferencePlan, plan_inference

PRESET = """\
family: dummy
presets:
  - name: dummy-1b
    model_id: acme/Dummy-1B
    licence: mit
    token_limit: 4096
    dtype: bfloat16
    parameters: 1000000000
    weights_bytes: 2000000000
    architecture:
      name: LlamaForCausalLM
      layers: 16
      hidden_size: 2048
      intermediate_size: 8192
      attention_heads: 32
      kv_heads: 8
      head_dim: 64
      vocabulary_size: 32000
    sources: [a test]
"""

GPUS = """\
vendor: acme
resource: nvidia.com/gpu
source: a test
gpus:
  - {name: big, model: ACME Big, compute_capability: "8.9", memory: 24Gi, products: [ACME-BIG-24GB]}
"""

SKUS = """\
cloud: acme
source: a test
skus:
  - {name: acme.large, gpu: big, count: 2}
"""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        directory, _, stem = name.partition("_")
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / f"{stem}.yaml").write_text(text)
    return tmp_path


def test_a_preset_and_an_instance_type_are_one_file_each(tmp_path: Path):
    """A preset and a SKU that exist only in YAML files of a folder are planned like any other."""
    catalog = load(folder(tmp_path, presets_dummy=PRESET, gpus_acme=GPUS, skus_acme=SKUS))

    plan = plan_inference(
        catalog.preset("acme/dummy-1b"), catalog.sku("ACME.LARGE"), runtime=catalog.runtime("vllm-cuda")
    )

    assert isinstance(plan, InferencePlan)
    assert (plan.node_count, plan.data_parallel, plan.max_model_len) == (1, 2, 4096)


@pytest.mark.parametrize(
    "name",
    [
        "phi-3-mini-4k-instruct",
        "Phi-3-Mini-4K-Instruct",
        "microsoft/Phi-3-mini-4k-instruct",
        "MICROSOFT/PHI-3-MINI-4K-INSTRUCT",
    ],
)
def test_short_name_and_model_id_are_one_preset_in_any_case(catalog: Catalog, name: str):
    """A user may write the short name or the model id, in any case."""
    assert catalog.preset(name).name == "phi-3-mini-4k-instruct"


def test_an_unknown_preset_offers_the_nearest(catalog: Catalog):
    """A misspelt preset is answered with names that exist, the nearest first."""
    with pytest.raises(UnknownPreset) as caught:
        catalog.preset("phi3-mini-4k-instruct")

    assert caught.value.nearest[0] == "phi-3-mini-4k-instruct"
    assert "no preset 'phi3-mini-4k-instruct' is in the catalogue; nearest names: phi-3-mini-4k-instruct" in str(
        caught.value
    )


def test_an_unknown_instance_type_offers_the_nearest(catalog: Catalog):
    """A misspelt instance type is answered with names that exist."""
    with pytest.raises(UnknownInstanceType) as caught:
        catalog.sku("Standard_NC6_v3")

    assert caught.value.nearest[0] == "Standard_NC6s_v3"


def test_a_name_like_nothing_offers_nothing(catalog: Catalog):
    """Where no name is near, none is offered."""
    with pytest.raises(UnknownRuntime) as caught:
        catalog.runtime("zzzz")

    assert str(caught.value) == "no runtime 'zzzz' is in the catalogue"


def test_the_instance_type_of_every_tutorial_is_known(catalog: Catalog):
    """Standard_NC6s_v3 is a V100 of 16 GiB, compute capability 7.0."""
    sku = catalog.sku("standard_nc6s_v3")

    assert ("Standard_NC6s_v3", 1, 16 * 1024**3, "NVIDIA V100", ComputeCapability(major=7, minor=0)) == (
        sku.name,
        sku.gpu_count,
        sku.gpu_memory_bytes,
        sku.gpu_model,
        sku.compute_capability,
    )


def test_compute_capabilities_are_ordered_as_numbers():
    """8.9 is below 10.0: parts are compared as numbers, not as text."""
    assert ComputeCapability.parse("8.9") < ComputeCapability.parse("10.0")


@pytest.mark.parametrize(
    ("written", "instead", "error"),
    [
        (
            "    token_limit: 4096",
            "    token_limit: many",
            "6: presets[0].token_limit: must be a whole number above zero; found 'many' (str)",
        ),
        (
            "    token_limit: 4096",
            "    token_limit: 0",
            "6: presets[0].token_limit: must be a whole number above zero; found '0' (int)",
        ),
        ("    licence: mit\n", "", "3: presets[0].licence: must be given; found nothing"),
        (
            "    licence: mit",
            "    license: mit\n    licence: mit",
            "5: presets[0].license: is not a field of this mapping",
        ),
        (
            "    dtype: bfloat16",
            "    dtype: int3",
            "7: presets[0].dtype: must be one of float32, bfloat16, float16; found 'int3' (str)",
        ),
        (
            "      kv_heads: 8",
            "      kv_heads: 7",
            "16: presets[0].architecture.kv_heads: must divide attention_heads (32); found '7' (int)",
        ),
        (
            "    sources: [a test]",
            "    sources: a test",
            "19: presets[0].sources: must be a list; found 'a test' (str)",
        ),
        (
            "    licence: mit",
            "    licence: mit\n    licence: mit",
            "6: presets[0].licence: must be written once; found it twice",
        ),
        ("family: dummy", "family: [dummy", "2: document: must be YAML"),
    ],
)
def test_a_wrong_file_is_an_error_with_file_line_and_field(tmp_path: Path, written: str, instead: str, error: str):
    """Every mistake in a catalogue file names the file, the line, the field, the rule and what was found."""
    assert written in PRESET
    with pytest.raises(CatalogError) as caught:
        load(folder(tmp_path, presets_dummy=PRESET.replace(written, instead)))

    assert str(caught.value).startswith(f"presets/dummy.yaml:{error}")


@pytest.mark.parametrize(
    ("file", "written", "instead", "error"),
    [
        (
            "skus_acme",
            "gpu: big,",
            "gpu: bog,",
            "skus/acme.yaml:4: skus[0].gpu: must be a GPU of the catalogue's gpus/ (nearest: big, ",
        ),
        (
            "gpus_acme",
            "24Gi",
            "lots",
            "gpus/acme.yaml:5: gpus[0].memory: must be a quantity above zero such as \"80Gi\"; found 'lots' (str)",
        ),
        (
            "gpus_acme",
            '"8.9"',
            "8.9",
            "gpus/acme.yaml:5: gpus[0].compute_capability: must be a text that is not empty; found '8.9' (float)",
        ),
        (
            "gpus_acme",
            '"8.9"',
            '"new"',
            'gpus/acme.yaml:5: gpus[0].compute_capability: must be MAJOR.MINOR in quotes, for example "8.0"; found ',
        ),
    ],
)
def test_wrong_hardware_is_an_error_with_file_line_and_field(
    tmp_path: Path, file: str, written: str, instead: str, error: str
):
    """The same holds for GPUs and instance types."""
    texts = {"gpus_acme": GPUS, "skus_acme": SKUS}
    texts[file] = texts[file].replace(written, instead)
    with pytest.raises(CatalogError) as caught:
        load(folder(tmp_path, **texts))

    assert str(caught.value).startswith(error)


def test_a_runtime_may_use_only_its_own_parameters(tmp_path: Path):
    """A placeholder without a parameter is found when the file is read, not when a pod is made."""
    text = """\
name: odd
description: a runtime with a placeholder that nothing fills
image: "{picture}"
image_pull_policy: Always
command: [serve]
accelerator: {device: cuda, resource: nvidia.com/gpu, compute_capabilities: ["8.0"]}
"""
    with pytest.raises(CatalogError) as caught:
        load(folder(tmp_path, runtimes_odd=text))

    assert "runtimes/odd.yaml:3: image: may hold only the runtime's parameters in braces, not picture" in str(
        caught.value
    )


def test_a_name_is_used_once(tmp_path: Path):
    """Two presets of one name are a mistake, whatever files they stand in."""
    twin = PRESET.replace("model_id: acme/Dummy-1B", "model_id: microsoft/phi-4")
    with pytest.raises(CatalogError) as caught:
        load(folder(tmp_path, presets_dummy=twin))

    expected = "presets/dummy.yaml: name: must be used once; found 'microsoft/phi-4' in presets/phi-4.yaml too"
    assert str(caught.value) == expected


def test_an_empty_file_is_refused(tmp_path: Path):
    """A file with nothing in it is a mistake, not an empty catalogue."""
    with pytest.raises(
        CatalogError, match=r"presets/empty\.yaml:1: document: must be a mapping of fields; found an empty file"
    ):
        load(folder(tmp_path, presets_empty=""))


def test_the_documented_price_file_is_one():
    """The example in the documentation is read, with what its head says and what single prices say instead."""
    text = (Path(__file__).parents[3] / "docs" / "catalogue.md").read_text()
    example = next(block for block in text.split("```") if block.startswith("yaml\nsource:")).removeprefix("yaml\n")

    usual, spot, offer = prices_of("prices.yaml", example)

    assert (usual.instance_type, usual.currency, usual.date, usual.cloud, usual.spot) == (
        "Standard_NC24ads_A100_v4",
        "USD",
        "2026-07-01",
        "azure",
        False,
    )
    assert (spot.spot, spot.region, spot.source) == (True, "example-region", "https://prices.example.com/list")
    assert (offer.currency, offer.date, offer.source) == ("EUR", "2026-06-01", "an offer")


CONTAINERS = """\
name: odd
description: a runtime with further containers
image: "{picture}"
image_pull_policy: Never
command: [serve]
parameters: [{name: picture, description: the image, default: "one:1"}]
containers:
  tuning:
    command: [tune]
    environment: {A: "{picture}"}
accelerator: {device: cpu, resource: nvidia.com/gpu}
"""


def test_a_runtimes_further_containers_take_its_image(tmp_path: Path):
    """A container names its command; image and the rest are the runtime's unless it says otherwise."""
    runtime = load(folder(tmp_path, runtimes_odd=CONTAINERS)).runtime("odd")

    assert runtime.agent is None
    assert runtime.tuning is not None
    assert (runtime.tuning.image, runtime.tuning.command) == ("{picture}", ("tune",))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("{picture}", "containers: may hold only the runtime's parameters in braces, not other"),
        ("command: [tune]", "containers.tuning.command: must hold at least the program"),
        ("tuning:", "containers.training: is not a field of this mapping"),
    ],
)
def test_a_container_that_is_wrong_is_named(tmp_path: Path, wrong: str, words: str):
    """What is wrong with a container of a runtime is said with its place."""
    instead = {"{picture}": "{other}", "command: [tune]": "command: []", "tuning:": "training:"}[wrong]
    before, mark, after = CONTAINERS.partition("containers:")
    with pytest.raises(CatalogError) as caught:
        load(folder(tmp_path, runtimes_odd=before + mark + after.replace(wrong, instead)))

    assert words in str(caught.value)
