"""Why an engine did not start, in one sentence, from its log; pure, and at ease with any text.

After what vLLM 0.19 to 0.32 and PyTorch raise: v1/worker/utils.py (request_memory), v1/worker/cpu_worker.py,
v1/core/kv_cache_utils.py, platforms/cuda.py, config/vllm.py, config/device.py, model_executor/models/registry.py.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from measure_fit.engine_log import ends

_GIB: Final = r"([0-9.]{1,12})"
_FREE_OF: Final = rf".{{0,80}}?\({_GIB}/{_GIB} GiB\).{{0,120}}?less than"


@frozen(kw_only=True)
class EngineFailure:
    """One sentence; `memory` says that the model was too large for what it was given, which is a finding by itself."""

    sentence: str
    memory: bool = False


@frozen
class _Known:
    """What is written, what to say of it with the parts in parentheses, and whether the model was too large."""

    pattern: str
    sentence: str
    memory: bool = False


# The first that is found is told: the more particular come before what follows from them.
_KNOWN: Final = (
    _Known(
        r"measure-fit wants (\w{1,20}), and vLLM computes on (\w{1,20})",
        "this vLLM computes on {1}, not on {0}: name an interpreter with another build of it, or give --device",
    ),
    _Known(
        r"and vLLM finds no device|Failed to infer device type|No CUDA GPUs are available|[Nn]o NVIDIA driver"
        r"|not compiled with CUDA|no CUDA-capable device|CUDA driver initialization failed",
        "the engine sees no GPU: run where nvidia-smi lists one, with a vLLM built for it",
    ),
    _Known(
        rf"Free memory on device{_FREE_OF}",
        "of the GPU's {1} GiB {0} are free, less than the engine's share, as other processes hold the rest: end them, "
        "or lower --gpu-memory-utilization",
    ),
    _Known(
        rf"Available memory on node{_FREE_OF}",
        "this machine has {0} of {1} GiB of memory free, less than the engine's share: free some, or give a smaller "
        "--kv-cache-memory-bytes after --",
    ),
    _Known(
        rf"To serve at least one request .{{0,60}}?\(([0-9,]{{1,20}})\), \(?{_GIB} GiB KV cache is needed.{{0,80}}?"
        rf"memory \({_GIB} GiB\)",
        "a request of {0} tokens needs {1} GiB of KV cache and {2} GiB are left: ask for a shorter --max-model-len",
        memory=True,
    ),
    _Known(
        r"Cannot auto-fit max_model_len",
        "what weights and activations leave for the KV cache does not hold one token: take a larger GPU, more ranks, "
        "or a larger --gpu-memory-utilization",
        memory=True,
    ),
    _Known(
        r"No available memory for the cache blocks",
        "weights and activations leave no memory for a KV cache: take a larger GPU, more ranks, or a larger "
        "--gpu-memory-utilization",
        memory=True,
    ),
    _Known(
        r"CUDA out of memory|CUDA error: out of memory|OutOfMemoryError|not enough GPU memory",
        "the GPU ran out of memory before the engine was ready: take a larger GPU, more ranks, or a smaller model",
        memory=True,
    ),
    _Known(
        r"no kernel image is available",
        "this vLLM holds no programs for the GPU's compute capability: take a vLLM built for it, or another GPU",
    ),
    _Known(
        r"Bfloat16 is only supported on GPUs",
        "the GPU does not compute in bfloat16: add --dtype float16 after --",
    ),
    _Known(
        r"The quantization method (\S{1,40}) is not supported for the current GPU",
        "the GPU is too old for weights packed with {0}: take a newer GPU, or a model that is not packed",
    ),
    _Known(
        r"(torch\.\w{1,20}) is not supported for quantization method (\S{1,40}?)\. ",
        "weights packed with {1} are not computed in {0}: choose another --dtype after --",
    ),
    _Known(
        r"Model architectures (\[.{1,200}?\]) are not supported",
        "this vLLM has no model for the architectures {0}: choose one that it serves",
    ),
    _Known(
        r"requires a tokenizer and cannot be initialized",
        "this model's processor wants a tokenizer: give a folder that holds one, and --no-skip-tokenizer-init after --",
    ),
    _Known(r"unrecognized arguments: (.{1,200})", "this vLLM has no option {0}: leave it out after --"),
    _Known(r"error: argument (.{1,300})", "vLLM refuses an option: {0}"),
)
_ERROR: Final = re.compile(r"(?:^|[\s\]])([A-Za-z_][\w.]{0,80}(?:Error|Exception|Exit)\w{0,20}: .{1,300})")
_LINE: Final = 2000
_SEE_ABOVE: Final = "root cause"


def failure_of(text: str, code: int | None) -> EngineFailure:
    """What a log says of the failure of an engine that ended with an exit code, or never became ready (None)."""
    text = ends(text)
    for known in _KNOWN:
        found = re.search(known.pattern, text)
        if found:
            return EngineFailure(sentence=known.sentence.format(*found.groups()), memory=known.memory)
    if code is None:
        return EngineFailure(sentence="it was not ready in time: give a longer --timeout, or look into its log (--log)")
    if code < 0:
        return EngineFailure(
            sentence=f"signal {-code} ended it, which the kernel sends where memory runs out if it is 9"
        )
    return EngineFailure(sentence=_last_error(text) or f"it ended with {code}, and its log does not say why: see --log")


def _last_error(text: str) -> str:
    found = [match[1] for line in text.splitlines() if (match := _ERROR.search(line[:_LINE]))]
    own = [one for one in found if _SEE_ABOVE not in one]
    return own[-1].rstrip() if own else ""
