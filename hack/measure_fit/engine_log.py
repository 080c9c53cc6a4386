"""What vLLM writes while it starts, as numbers; pure, and at ease with any text. Sizes are bytes.

After vLLM 0.19 to 0.32: v1/worker/gpu_worker.py (available KV cache memory, actual usage), v1/worker/cpu_worker.py (the
same on a CPU), v1/worker/gpu_model_runner.py (loading, CUDA graphs), v1/core/kv_cache_utils.py (tokens, lengths). Sizes
are written in GiB with two decimals, so each may be off by 5 MiB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from attrs import frozen

from kaito_controller.sizing.memory import GIB

# A start writes some hundred lines; of a log without end both ends are read.
_HALF: Final = 2**22
_GIB: Final = r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?) ?Gi?B"
_SIZE: Final = r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
_COUNT: Final = r"([0-9][0-9,]{0,18})"
_LEAST_OF_KV: Final = (
    rf"Available KV cache memory: {_GIB}",
    rf"(?:Explicitly|Auto) set \({_SIZE}/",
    rf"reserved {_GIB} memory for KV Cache",
)


@frozen(kw_only=True)
class EngineLog:
    """The figures of one start; None for what the log does not say.

    Of several ranks the fullest counts. `weights` are as loaded; `graphs` what capturing CUDA graphs took,
    `graphs_estimate` what was expected of it, which `graphs_deducted` says was taken from the KV cache's space.
    `requested` is the engine's share of the GPU, `consumed` what it held after a trial step, `activations` that step's
    peak beyond it.
    """

    weights: int | None = None
    requested: int | None = None
    consumed: int | None = None
    activations: int | None = None
    graphs: int | None = None
    graphs_estimate: int | None = None
    graphs_deducted: bool = False
    kv_space: int | None = None
    kv_blocks: int | None = None
    kv_tokens: int | None = None
    max_model_len: int | None = None


def read_log(text: str) -> EngineLog:
    """The figures of a log, whatever else is in it."""
    text = ends(text)
    return EngineLog(
        weights=_size(text, max, rf"Model loading took {_GIB}"),
        requested=_size(text, max, rf"utilization is \([0-9.]{{1,9}}, {_GIB}\)"),
        consumed=_size(text, max, rf"Actual usage is {_GIB} for consumed memory"),
        activations=_size(text, max, rf"{_GIB} for peak activation"),
        graphs=_size(text, max, rf"Graph capturing finished in [0-9]{{1,6}} secs, took {_GIB}"),
        graphs_estimate=_size(text, max, rf"Estimated CUDA graph memory: {_GIB} total"),
        graphs_deducted="CUDA graph memory profiling is enabled" in text,
        kv_space=_size(text, min, *_LEAST_OF_KV),
        kv_blocks=_count(text, rf"# GPU blocks: {_COUNT}", rf"num_gpu_blocks is: {_COUNT}"),
        kv_tokens=_count(text, rf"KV cache size: {_COUNT} tokens"),
        max_model_len=_count(text, rf"Maximum concurrency for {_COUNT} tokens"),
    )


def ends(text: str) -> str:
    """The text, without its middle where it is very long."""
    return text if len(text) <= 2 * _HALF else f"{text[:_HALF]}\n{text[-_HALF:]}"


def _size(text: str, chosen: Callable[[list[float]], float], *patterns: str) -> int | None:
    found = [float(one) for one in _found(text, patterns)]
    return int(chosen(found) * GIB) if found else None


def _count(text: str, *patterns: str) -> int | None:
    found = [int(one.replace(",", "")) for one in _found(text, patterns)]
    return min(found, default=None)


def _found(text: str, patterns: tuple[str, ...]) -> Iterator[str]:
    return (match[1] for pattern in patterns for match in re.finditer(pattern, text))
