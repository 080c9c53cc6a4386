"""Why an engine did not start, out of what vLLM, PyTorch and the kernel leave behind."""

from __future__ import annotations

import pytest
from measure_fit.engine_failure import failure_of

WORKER = "(Worker_TP0 pid=9) ERROR 11-29 06:56:36 [multiproc_executor.py:822] "
TOO_LONG = (
    "ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (11.32 GiB). Based on the available memory, the estimated"
)
MEMORY = (
    (
        TOO_LONG,
        "a request of 131072 tokens needs 16.0 GiB of KV cache and 11.32 GiB are left",
    ),
    ("ValueError: No available memory for the cache blocks. Try increasing", "leave no memory for a KV cache"),
    (
        "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token.",
        "does not hold one token",
    ),
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB. GPU 0 has a total capacity of 14.56",
        "the GPU ran out of memory before the engine was ready",
    ),
)
OTHERS = (
    (
        "ValueError: Free memory on device cuda:0 (3.11/79.11 GiB) on startup is less than desired GPU memory",
        "of the GPU's 79.11 GiB 3.11 are free",
    ),
    (
        "ValueError: Available memory on node 0 (9.0/15.84 GiB) on startup is less than desired CPU memory utilization",
        "this machine has 9.0 of 15.84 GiB of memory free",
    ),
    ("RuntimeError: Failed to infer device type, please set the environment variable", "the engine sees no GPU"),
    ("RuntimeError: No CUDA GPUs are available", "the engine sees no GPU"),
    ("measure-fit wants cuda, and vLLM finds no device", "the engine sees no GPU"),
    ("measure-fit wants cuda, and vLLM computes on cpu", "this vLLM computes on cpu, not on cuda"),
    (
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has",
        "does not compute in bfloat16",
    ),
    (
        "ValueError: The quantization method modelopt is not supported for the current GPU. Minimum capability: 89.",
        "too old for weights packed with modelopt",
    ),
    (
        "ValueError: torch.bfloat16 is not supported for quantization method gptq. Supported dtypes: [torch.float16]",
        "weights packed with gptq are not computed in torch.bfloat16",
    ),
    (
        "  Value error, Model architectures ['XForCausalLM'] are not supported for now. Supported architectures: dict",
        "no model for the architectures ['XForCausalLM']",
    ),
    (
        "ValueError: XProcessor requires a tokenizer and cannot be initialized when `skip_tokenizer_init=True`.",
        "wants a tokenizer",
    ),
    ("vllm: error: unrecognized arguments: --no-such 3", "this vLLM has no option --no-such 3"),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "holds no programs"),
)


@pytest.mark.parametrize(("line", "said"), MEMORY)
def test_too_large_is_a_finding(line: str, said: str):
    found = failure_of(f"{WORKER}Traceback (most recent call last):\n{WORKER}{line}\n", 1)
    assert said in found.sentence
    assert found.memory


@pytest.mark.parametrize(("line", "said"), OTHERS)
def test_other_causes_have_a_remedy(line: str, said: str):
    found = failure_of(f"{WORKER}{line}\n", 1)
    assert said in found.sentence
    assert ": " in found.sentence
    assert not found.memory


def test_the_line_of_a_start_that_went_well_is_no_cause():
    text = "Free memory on device (78.58/79.11 GiB) on startup. Desired GPU memory utilization is (0.84, 66.45 GiB)."
    assert "other processes" not in failure_of(f"{text}\nAssertionError: later\n", 1).sentence


def test_an_unknown_cause_is_told_in_the_engines_words():
    text = (
        f"{WORKER}KeyError: 'rope'\n{WORKER}ValueError: the rope is too short\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
    )
    assert failure_of(text, 1).sentence == "ValueError: the rope is too short"


def test_without_any_word_the_way_it_ended_is_told():
    assert "signal 9" in failure_of("", -9).sentence
    assert "not ready in time" in failure_of("INFO loading", None).sentence
    assert "ended with 3" in failure_of("nothing of use", 3).sentence
