"""Which ways of cutting a model the engine accepts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.catalog.loader import load
from kaito_controller.sizing.parallelism import obstacles, stage_counts, tensor_sizes
from kaito_controller.sizing.stages import stage_bounds

CATALOG = load()


@pytest.mark.parametrize(
    ("preset", "sizes"),
    [
        ("phi-4", (2, 1)),
        ("llama-3.3-70b-instruct", (8, 4, 2, 1)),
        # 71 heads are a prime.
        ("falcon-7b", (1,)),
        # 24 heads and 8 KV heads, of which three would have to share a rank unevenly.
        ("phi-4-mini-instruct", (8, 4, 2, 1)),
        # Latent attention keeps one head, copied everywhere; the width of the experts decides.
        ("deepseek-v3.2", (8, 4, 2, 1)),
        # 192 rows of 1536 at eight ranks cut a block of 128.
        ("qwen3-235b-a22b", (8, 4, 2, 1)),
    ],
)
def test_sizes_are_those_that_divide(preset: str, sizes: tuple[int, ...]):
    """Heads, KV heads, widths and vocabulary all divide, up to eight ranks."""
    made = CATALOG.preset(preset)

    assert tensor_sizes(made.architecture, 8, packing=made.quantisation) == sizes


def test_blocks_of_packed_weights_stay_whole():
    """The experts of MiniMax-M2 are 1536 wide and packed in blocks of 128: eight ranks cut them, four do not."""
    made = CATALOG.preset("minimax-m2.7")
    packed = next(iter(obstacles(made.architecture, 8, packing=made.quantisation)))

    assert packed == "the experts' intermediate size 1536 is packed in blocks of 128, which 8 ranks would cut"
    assert not list(obstacles(made.architecture, 4, packing=made.quantisation))
    assert not list(obstacles(made.architecture, 8))
    assert not list(obstacles(made.architecture, 8, packing=made.quantisation, expert_parallel=True))


def test_kv_heads_of_gpt_oss_are_not_copied():
    """Its code divides them without keeping one on each rank."""
    found = list(obstacles(CATALOG.preset("gpt-oss-20b").architecture, 16))

    assert any("8 KV heads neither divide by 16" in one for one in found)
    assert not list(obstacles(CATALOG.preset("llama-3.1-8b-instruct").architecture, 16))


def test_groups_of_a_state_divide():
    """Nemotron's Mamba layers have eight groups, so three ranks are refused by more than the heads."""
    found = list(obstacles(CATALOG.preset("nvidia-nemotron-nano-9b-v2").architecture, 3))

    assert any("groups of mamba2 layers do not divide by 3" in one for one in found)


@given(st.integers(1, 200), st.integers(1, 200))
def test_stages_hold_every_layer_once(layers: int, stages: int):
    """In order, none empty, none more than one larger than another, and the last not the larger."""
    if stages > layers:
        return
    bounds = stage_bounds(layers, stages)
    sizes = [last - first for first, last in bounds]

    assert (bounds[0][0], bounds[-1][1], len(bounds)) == (0, layers, stages)
    assert all(before[1] == after[0] for before, after in pairwise(bounds))
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert sizes[-1] == min(sizes)


@pytest.mark.parametrize(
    ("preset", "counts"),
    [("phi-2", tuple(range(1, 33))), ("gemma-4-e2b-it", (1,)), ("qwen3.5-2b", tuple(range(1, 7)))],
)
def test_stages_that_the_engine_can_run(preset: str, counts: tuple[int, ...]):
    """As many as layers; one where layers share caches; as many as each has a layer that attends."""
    assert stage_counts(CATALOG.preset(preset).architecture) == counts
