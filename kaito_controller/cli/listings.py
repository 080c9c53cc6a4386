"""``kubectl kaito models`` and ``kubectl kaito skus``: what the catalogue knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import Preset
from kaito_controller.cli.bad_input import BadInputError
from kaito_controller.cli.known import known
from kaito_controller.cli.output import MACHINES, written
from kaito_controller.cli.text_table import table
from kaito_controller.sizing.memory import GIB

_T = TypeVar("_T")
_MODEL: Final = ("NAME", "FAMILY", "MODEL", "WEIGHTS", "TOKENS", "GATED")
_WIDE_MODEL: Final = ("DTYPE", "PACKED", "LICENCE", "ALIASES")
_SKU: Final = ("NAME", "CLOUD", "GPUS", "GPU", "MEMORY", "NVME")
_WIDE_SKU: Final = ("SEEN", "CAPABILITY", "RESOURCE", "SOURCE")


def models(words: Sequence[str], form: str) -> int:
    """Print the presets that contain all words."""
    presets = sorted(known().presets, key=lambda one: one.name)
    found = _matching(presets, words, lambda one: (*one.names, one.family, one.licence), "model")
    if form in MACHINES:
        print(written([_model_values(one) for one in found], form), end="")
        return 0
    wide = form == "wide"
    header = (*_MODEL, *_WIDE_MODEL) if wide else _MODEL
    for line in table(header, [_model_row(one, wide=wide) for one in found]):
        print(line)
    return 0


def skus(words: Sequence[str], form: str) -> int:
    """Print the instance types that contain all words."""
    types = sorted(known().skus, key=lambda one: (one.cloud, one.name))
    found = _matching(types, words, lambda one: (one.name, one.cloud, one.gpu_model, one.gpu.name), "instance type")
    if form in MACHINES:
        print(written([_sku_values(one) for one in found], form), end="")
        return 0
    wide = form == "wide"
    header = (*_SKU, *_WIDE_SKU) if wide else _SKU
    for line in table(header, [_sku_row(one, wide=wide) for one in found]):
        print(line)
    return 0


def _matching(entries: Sequence[_T], words: Sequence[str], texts: Callable[[_T], Sequence[str]], what: str) -> list[_T]:
    wanted = [word.lower() for word in words]
    found = [one for one in entries if all(any(word in text.lower() for text in texts(one)) for word in wanted)]
    if not found:
        raise BadInputError(f"no {what} of the catalogue has {' and '.join(map(repr, words))}: leave a word out")
    return found


def _model_row(one: Preset, *, wide: bool) -> list[str]:
    size = f"{one.weights_bytes / GIB:.1f}Gi"
    row = [one.name, one.family, one.model_id, size, str(one.token_limit), _mark(one.gated)]
    packed = one.quantisation.method if one.quantisation is not None else ""
    return [*row, one.dtype, packed, one.licence, ", ".join(one.aliases)] if wide else row


def _model_values(one: Preset) -> dict[str, Any]:
    return {
        "name": one.name,
        "family": one.family,
        "model": one.model_id,
        "aliases": list(one.aliases),
        "architecture": one.architecture.name,
        "licence": one.licence,
        "gated": one.gated,
        "dtype": one.dtype,
        "quantisation": one.quantisation.method if one.quantisation is not None else None,
        "parameters": one.parameters,
        "weightsBytes": one.weights_bytes,
        "tokenLimit": one.token_limit,
        "sources": list(one.sources),
    }


def _sku_row(one: SKU, *, wide: bool) -> list[str]:
    memory = f"{one.gpu_memory_bytes / GIB:g}Gi"
    row = [one.name, one.cloud, str(one.gpu_count), one.gpu_model, memory, _mark(one.nvme)]
    if not wide:
        return row
    from kaito_controller.sizing.usable_memory import seen_memory

    return [*row, f"{seen_memory(one) / GIB:.1f}Gi", str(one.compute_capability or ""), one.resource, one.source]


def _sku_values(one: SKU) -> dict[str, Any]:
    return {
        "name": one.name,
        "cloud": one.cloud,
        "gpus": one.gpu_count,
        "gpu": one.gpu_model,
        "memoryBytes": one.gpu_memory_bytes,
        "computeCapability": str(one.compute_capability) if one.compute_capability is not None else None,
        "nvme": one.nvme,
        "resource": one.resource,
        "source": one.source,
    }


def _mark(holds: bool) -> str:
    return "yes" if holds else ""
