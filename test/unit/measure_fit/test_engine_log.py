"""Figures out of an engine's log: in the words of each release and device, and out of any text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from measure_fit.engine_failure import failure_of
from measure_fit.engine_log import EngineLog, ends, read_log

from kaito_controller.sizing.memory import GIB

PREFIX = "(EngineCore pid=71) INFO 11-29 06:56:36 [gpu_worker.py:760] "
USAGE = (
    "Free memory on device (78.58/79.11 GiB) on startup. Desired GPU memory utilization is (0.84, 66.45 GiB). Actual "
    "usage is 15.2 GiB for consumed memory (weights + non-torch), 1.22 GiB for peak activation, and 0.61 GiB for"
)
GPU = (
    "Model loading took 14.99 GiB memory and 3.217000 seconds",
    "Estimated CUDA graph memory: 0.55 GiB total",
    "Available KV cache memory: 52.31 GiB",
    "CUDA graph memory profiling is enabled (default since v0.21.0). The current --gpu-memory-utilization=0.8400 is",
    "GPU KV cache size: 428,512 tokens, Maximum concurrency for 131,072 tokens per request: 3.27x",
    "Graph capturing finished in 12 secs, took 0.61 GiB",
    USAGE,
)
CPU = (
    "Explicitly set (0.04/15.84) GiB for KV cache on node 0.",
    "CPU KV cache size: 39,040 tokens, Maximum concurrency for 38,912 tokens per request: 1.00x",
)


def log(*lines: str) -> EngineLog:
    return read_log("\n".join(PREFIX + line for line in lines))


def gib(count: float) -> int:
    return int(count * GIB)


def test_every_figure_of_a_gpu_is_read():
    assert log(*GPU) == EngineLog(
        weights=gib(14.99),
        requested=gib(66.45),
        consumed=gib(15.2),
        activations=gib(1.22),
        graphs=gib(0.61),
        graphs_estimate=gib(0.55),
        graphs_deducted=True,
        kv_space=gib(52.31),
        kv_tokens=428_512,
        max_model_len=131_072,
    )


def test_a_cpu_spells_it_otherwise():
    assert log(*CPU) == EngineLog(kv_space=gib(0.04), kv_tokens=39_040, max_model_len=38_912)
    assert log("Auto set (2.5/15.84) GiB for KV cache on node 0, with 13.3 GiB").kv_space == gib(2.5)


def test_older_releases_write_tokens_and_length_on_lines_of_their_own():
    found = log(
        "Model loading took 14.9889 GB and 2.1 seconds",
        "GPU KV cache size: 136,528 tokens",
        "Maximum concurrency for 8,192 tokens per request: 16.67x",
        "# GPU blocks: 8533, # CPU blocks: 2048",
    )
    assert (found.weights, found.kv_tokens) == (gib(14.9889), 136_528)
    assert (found.max_model_len, found.kv_blocks) == (8192, 8533)


def test_a_space_that_was_asked_for_is_found_too():
    assert log("Initial free memory 78.5 GiB, reserved 4.0 GiB memory for KV Cache as specified").kv_space == 4 * GIB


def test_of_several_ranks_the_fullest_counts():
    found = log(
        "Model loading took 7.5 GiB memory and 1.0 seconds",
        "Model loading took 7.9 GiB memory and 1.0 seconds",
        "Available KV cache memory: 10.5 GiB",
        "Available KV cache memory: 10.1 GiB",
    )
    assert (found.weights, found.kv_space) == (gib(7.9), gib(10.1))


def test_a_space_below_nothing_stays_below():
    assert log("Available KV cache memory: -1.25 GiB").kv_space == gib(-1.25)


def test_figures_at_both_ends_of_an_endless_log_are_read():
    text = "\n".join([GPU[0], "x" * 2**24, GPU[2]])
    found = read_log(text)
    assert (found.weights, found.kv_space) == (gib(14.99), gib(52.31))
    assert len(ends(text)) < len(text)


@given(st.text() | st.lists(st.sampled_from([*GPU, *CPU, "12345678901.123.4 GiB", "tokens", "\r", "٣"])).map("".join))
def test_no_text_is_too_odd(text: str):
    read_log(text)
    assert failure_of(text, 1).sentence


def test_half_a_number_is_no_number():
    assert (
        log("Available KV cache memory: . GiB", "GPU KV cache size: ,, tokens", "KV cache size: ٣ tokens")
        == EngineLog()
    )
