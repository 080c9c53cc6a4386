"""The precisions a model is served in: of its numbers, of its KV cache, and whether a GPU can unpack its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from kaito_controller.catalog.hardware import SKU, ComputeCapability
from kaito_controller.catalog.model import DTYPE_BYTES, EngineDevice, Preset, Runtime
from kaito_controller.catalog.quantisation import Quantisation
from kaito_controller.sizing.flags import EngineFlags

# Ampere is the first generation that computes in bfloat16 (NVIDIA, CUDA C++ programming guide).
BFLOAT16_CAPABILITY: Final = ComputeCapability(major=8, minor=0)
# 8-bit caches need conversions that no kernel has for older generations (vLLM, v1/attention/backends).
FP8_CACHE_CAPABILITY: Final = ComputeCapability(major=8, minor=0)
# From here on fp8 is computed in itself; below, Marlin unpacks it to 16 bits (vLLM, quantization/fp8.py).
FP8_CAPABILITY: Final = ComputeCapability(major=8, minor=9)
# The oldest generation for which vLLM unpacks each packing (get_min_capability of quantization/*.py, vLLM 0.32).
_PACKINGS: Final[Mapping[str, ComputeCapability]] = {
    "fp8": ComputeCapability(major=7, minor=5),
    "fbgemm_fp8": ComputeCapability(major=8, minor=0),
    "mxfp4": ComputeCapability(major=8, minor=0),
    "awq": ComputeCapability(major=7, minor=5),
    "gptq": ComputeCapability(major=6, minor=0),
    "modelopt": ComputeCapability(major=8, minor=0),
    "modelopt_fp4": ComputeCapability(major=7, minor=5),
    "compressed-tensors": ComputeCapability(major=7, minor=0),
    "bitsandbytes": ComputeCapability(major=7, minor=0),
}
# Models that overflow in float16 (vLLM, config/model.py, _FLOAT16_NOT_SUPPORTED_MODELS).
_NOT_IN_FLOAT16: Final = {
    "Gemma2ForCausalLM", "Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "Glm4ForCausalLM",
}  # fmt: skip
_SPELLINGS: Final = {"half": "float16", "float": "float32"}
_CACHE_BYTES: Final = {**DTYPE_BYTES, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_ds_mla": 1}


@frozen(kw_only=True)
class Precision:
    """What a model is served in.

    `packing` is the packing of its weights on the GPU; `cache_dtype` is empty where the cache has the model's own
    precision. `note` is what a user should know of it, or empty.
    """

    dtype: str
    packing: Quantisation | None
    cache_dtype: str
    cache_bytes: int
    note: str = ""


class UnsupportedPrecision(ValueError):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """A GPU does not compute in what is asked for, or cannot unpack the weights; one sentence with a remedy."""


def served_precision(preset: Preset, sku: SKU, runtime: Runtime, flags: EngineFlags) -> Precision:
    """The precision that the engine takes for a model on a kind of GPU.

    The checkpoint's own, or float16 for bfloat16 on a GPU older than compute capability 8.0 (float32 for the few models
    that overflow in it). A CPU engine computes in any.

    Raises:
        UnsupportedPrecision: the GPU cannot do what is asked for.
    """
    capability = sku.compute_capability if runtime.accelerator.device is EngineDevice.CUDA else None
    dtype = _dtype(preset, sku, capability, flags)
    packing = _packing(preset, sku, capability, flags)
    cache = _cache_dtype(packing, sku, capability, flags)
    return Precision(
        dtype=dtype,
        packing=packing,
        cache_dtype=cache,
        cache_bytes=_CACHE_BYTES[cache] if cache else DTYPE_BYTES[dtype],
        note=_note(preset, sku, dtype, packing, capability),
    )


def _dtype(preset: Preset, sku: SKU, capability: ComputeCapability | None, flags: EngineFlags) -> str:
    old = capability is not None and capability < BFLOAT16_CAPABILITY
    asked = _SPELLINGS.get(flags.dtype or "", flags.dtype)
    if asked is not None and asked not in DTYPE_BYTES:
        raise UnsupportedPrecision(f"dtype must be one of {', '.join(DTYPE_BYTES)} or auto, found '{asked}'")
    if asked == "bfloat16" and old:
        raise UnsupportedPrecision(
            f"dtype is bfloat16, and {sku.gpu_model} (compute capability {capability}) does not compute in it, which "
            f"begins at {BFLOAT16_CAPABILITY}: leave dtype out, or choose an instance type with a newer GPU"
        )
    if asked is not None:
        return asked
    if preset.dtype != "bfloat16" or not old:
        return preset.dtype
    return "float32" if preset.architecture.name in _NOT_IN_FLOAT16 else "float16"


def _packing(preset: Preset, sku: SKU, capability: ComputeCapability | None, flags: EngineFlags) -> Quantisation | None:
    packing = preset.quantisation
    if packing is None and flags.quantization is not None:
        packing = _made_by_the_engine(flags.quantization)
    if packing is None or capability is None:
        return packing
    method = packing.method.removesuffix("_marlin").removeprefix("gpt_oss_")
    least = _PACKINGS.get(method)
    if least is not None and capability < least:
        raise UnsupportedPrecision(
            f"the weights are packed with {packing.method}, which the engine unpacks from compute capability {least} "
            f"on, and {sku.gpu_model} has {capability}: choose an instance type with a newer GPU, or a model that is "
            "not packed"
        )
    return packing


def _made_by_the_engine(method: str) -> Quantisation:
    """What the engine makes of a checkpoint of plain numbers while it loads it."""
    if method == "fp8":
        return Quantisation(method="fp8", bits=8)
    if method == "bitsandbytes":
        return Quantisation(method="bitsandbytes", bits=4, group_size=64, scale_bits=32)
    raise UnsupportedPrecision(
        f"quantization must be fp8 or bitsandbytes for a checkpoint that is not packed, found '{method[:40]}'"
    )


def _cache_dtype(
    packing: Quantisation | None, sku: SKU, capability: ComputeCapability | None, flags: EngineFlags
) -> str:
    asked = flags.kv_cache_dtype or (packing.kv_cache_dtype if packing is not None else None)
    if asked is None:
        return ""
    if asked not in _CACHE_BYTES:
        raise UnsupportedPrecision(
            f"kv-cache-dtype must be one of {', '.join(_CACHE_BYTES)} or auto, found '{asked[:40]}'"
        )
    if _CACHE_BYTES[asked] == 1 and capability is not None and capability < FP8_CACHE_CAPABILITY:
        raise UnsupportedPrecision(
            f"the KV cache is to be kept in {asked}, and {sku.gpu_model} (compute capability {capability}) cannot, "
            f"which begins at {FP8_CACHE_CAPABILITY}: leave kv-cache-dtype out, or choose a newer GPU"
        )
    return asked


def _note(
    preset: Preset, sku: SKU, dtype: str, packing: Quantisation | None, capability: ComputeCapability | None
) -> str:
    if dtype != preset.dtype:
        return f"served in {dtype}: {sku.gpu_model} does not compute in {preset.dtype}"
    fp8 = packing is not None and "fp8" in packing.method
    if fp8 and capability is not None and capability < FP8_CAPABILITY:
        return f"weights stay in fp8 and are unpacked to 16 bits: {sku.gpu_model} does not compute in fp8"
    return ""
