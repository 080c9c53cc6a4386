"""What a layer with a recurrent state keeps for each request, on one tensor rank.

Formulas: vLLM, model_executor/layers/mamba/mamba_utils.py (MambaStateShapeCalculator, MambaStateDtypeCalculator).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kaito_controller.catalog.architecture import Mixer, StateShape
from kaito_controller.catalog.model import DTYPE_BYTES
from kaito_controller.sizing.cache_rules import CacheRules
from kaito_controller.sizing.missing import known


def state_bytes(kind: Mixer, shape: StateShape, tensor: int, rules: CacheRules) -> int:
    """Bytes of one layer's state of one request on one rank.

    Raises:
        MissingNumber: the shape lacks a number that this kind needs.
    """
    convolution, recurrent = _NUMBERS[kind](kind, shape, tensor)
    return convolution * rules.model_bytes + recurrent * _recurrent_bytes(kind, shape, rules)


def checkpoints(kind: Mixer) -> int:
    """Further states that a request may hold for a moment while its prompt is read (vLLM, MambaMixer2)."""
    return 1 if kind is Mixer.MAMBA2 else 0


def _recurrent_bytes(kind: Mixer, shape: StateShape, rules: CacheRules) -> int:
    if rules.recurrent_bytes is not None:
        return rules.recurrent_bytes
    if shape.dtype is not None:
        return DTYPE_BYTES[shape.dtype]
    return DTYPE_BYTES["float32"] if kind is Mixer.KIMI_DELTA else rules.model_bytes


def _need(kind: Mixer, shape: StateShape, name: str) -> int:
    return known(getattr(shape, name), f"{kind}.{name}", "the state of its layers follows from it")


def _mamba(kind: Mixer, shape: StateShape, tensor: int) -> tuple[int, int]:
    width = _need(kind, shape, "intermediate_size") // tensor
    return width * (_need(kind, shape, "conv_kernel") - 1), width * _need(kind, shape, "state_size")


def _mamba2(kind: Mixer, shape: StateShape, tensor: int) -> tuple[int, int]:
    heads, dim, size = (_need(kind, shape, name) for name in ("heads", "head_dim", "state_size"))
    groups = _need(kind, shape, "groups")
    # Groups that do not divide are copied until every rank has those of its heads.
    groups += 0 if groups % tensor == 0 else tensor - groups
    convolved = (heads * dim + 2 * groups * size) // tensor
    return convolved * (_need(kind, shape, "conv_kernel") - 1), heads // tensor * dim * size


def _delta(kind: Mixer, shape: StateShape, tensor: int) -> tuple[int, int]:
    heads, dim = _need(kind, shape, "heads"), _need(kind, shape, "head_dim")
    key_heads, key_dim = _need(kind, shape, "key_heads"), _need(kind, shape, "key_head_dim")
    convolved = (2 * key_heads * key_dim + heads * dim) // tensor
    return convolved * (_need(kind, shape, "conv_kernel") - 1), heads // tensor * dim * key_dim


def _lightning(kind: Mixer, shape: StateShape, tensor: int) -> tuple[int, int]:
    dim = _need(kind, shape, "head_dim")
    return 0, _need(kind, shape, "heads") // tensor * dim * dim


def _short_convolution(kind: Mixer, shape: StateShape, tensor: int) -> tuple[int, int]:
    return _need(kind, shape, "intermediate_size") // tensor * (_need(kind, shape, "conv_kernel") - 1), 0


_NUMBERS: Final[Mapping[Mixer, Callable[[Mixer, StateShape, int], tuple[int, int]]]] = {
    Mixer.MAMBA: _mamba,
    Mixer.MAMBA2: _mamba2,
    Mixer.GATED_DELTA: _delta,
    Mixer.KIMI_DELTA: _delta,
    Mixer.LIGHTNING: _lightning,
    Mixer.SHORT_CONV: _short_convolution,
}
