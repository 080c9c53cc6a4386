"""The precision of numbers, packed weights and the KV cache, by the generation of the GPU."""

from __future__ import annotations

import pytest
from attrs import evolve

from kaito_controller.catalog.loader import load
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.precision import Precision, UnsupportedPrecision, served_precision

CATALOG = load()
CUDA = CATALOG.runtime("vllm-cuda")
CPU = CATALOG.runtime("vllm-cpu-host")
V100, T4, A100, H100 = (
    "Standard_NC6s_v3",
    "Standard_NC4as_T4_v3",
    "Standard_NC24ads_A100_v4",
    "Standard_NC40ads_H100_v5",
)


def served(preset: str, sku: str, **flags: object) -> Precision:
    made = EngineFlags(**flags)  # type: ignore[arg-type]
    return served_precision(CATALOG.preset(preset), CATALOG.sku(sku), CUDA, made)


@pytest.mark.parametrize(
    ("preset", "sku", "dtype"),
    [
        ("phi-4", A100, "bfloat16"),
        ("phi-4", T4, "float16"),
        ("phi-4", V100, "float16"),
        # Gemma-3 overflows in float16.
        ("gemma-3-4b-it", T4, "float32"),
    ],
)
def test_bfloat16_needs_compute_capability_8(preset: str, sku: str, dtype: str):
    """Older GPUs serve in float16, and those models in float32 that do not bear it."""
    assert served(preset, sku).dtype == dtype


def test_fp8_is_computed_from_8_9_and_unpacked_below():
    """An A100 holds the weights in fp8 all the same, and says so."""
    old, new = served("glm-5.2-fp8", A100), served("glm-5.2-fp8", H100)

    assert old.packing == new.packing
    assert old.packing is not None
    assert ("unpacked to 16 bits" in old.note, new.note) == (True, "")


def test_the_cache_has_the_model_s_precision_unless_asked():
    """One byte a number in fp8, two in float16, four in float32."""
    assert (served("phi-4", A100).cache_dtype, served("phi-4", A100).cache_bytes) == ("", 2)
    assert served("phi-4", A100, dtype="float").cache_bytes == 4
    assert served("phi-4", H100, kv_cache_dtype="fp8").cache_bytes == 1


def test_the_engine_may_pack_a_plain_checkpoint():
    """In fp8, or in four bits."""
    fp8, four = served("phi-4", H100, quantization="fp8"), served("phi-4", H100, quantization="bitsandbytes")

    assert fp8.packing is not None
    assert four.packing is not None
    assert (fp8.packing.bits, four.packing.bits) == (8, 4)


def test_a_cpu_computes_in_anything():
    """The emulated GPU's generation does not matter."""
    sku = CATALOG.sku(V100)
    asked = EngineFlags(dtype="bfloat16", kv_cache_dtype="fp8")

    assert served_precision(CATALOG.preset("gpt-oss-20b"), sku, CPU, asked).dtype == "bfloat16"


@pytest.mark.parametrize(
    ("preset", "sku", "flags", "said"),
    [
        ("phi-4", A100, {"dtype": "int3"}, "dtype must be one of .* or auto, found 'int3'"),
        ("phi-4", A100, {"kv_cache_dtype": "int3"}, "kv-cache-dtype must be one of .* found 'int3'"),
        (
            "phi-4",
            V100,
            {"quantization": "fp8"},
            "packed with fp8, which the engine unpacks from compute capability 7.5",
        ),
    ],
)
def test_what_a_gpu_cannot_do_is_refused(preset: str, sku: str, flags: dict[str, object], said: str):
    """The rule, what was found, and what would do."""
    with pytest.raises(UnsupportedPrecision, match=said):
        served(preset, sku, **flags)


def test_weights_of_an_unknown_packing_are_left_to_the_engine():
    """No generation is known to be too old for it, so none is refused."""
    preset = CATALOG.preset("gpt-oss-20b")
    assert preset.quantisation is not None
    other = evolve(preset, quantisation=evolve(preset.quantisation, method="auto-round"))

    assert served_precision(other, CATALOG.sku(T4), CUDA, EngineFlags()).packing == other.quantisation
