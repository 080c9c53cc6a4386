"""What each GPU holds of a model's weights, counted from its architecture or read off its tensors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.catalog.architecture import Architecture, Experts, FeedForward
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset
from kaito_controller.catalog.quantisation import Part, Quantisation
from kaito_controller.catalog.tensor import Tensor
from kaito_controller.sizing.missing import MissingNumber
from kaito_controller.sizing.stages import stage_bounds
from kaito_controller.sizing.weights import Ranks, model_weights

CATALOG = load()
HIDDEN, WIDTH, HEADS, KV_HEADS, HEAD, ROWS, LAYERS = 64, 256, 8, 2, 8, 1000, 4
SMALL = Architecture(
    name="LlamaForCausalLM", layers=LAYERS, hidden_size=HIDDEN, intermediate_size=WIDTH, attention_heads=HEADS,
    kv_heads=KV_HEADS, head_dim=HEAD, vocabulary_size=ROWS,
)  # fmt: skip
EMBEDDINGS, DENSE = ROWS * HIDDEN, 3 * HIDDEN * WIDTH
QUERIES, KEYS = 2 * HIDDEN * HEADS * HEAD, 2 * HIDDEN * KV_HEADS * HEAD
LAYER = QUERIES + KEYS + DENSE + 2 * HIDDEN
ALL = 2 * EMBEDDINGS + LAYERS * LAYER + HIDDEN
WHOLE = (0, LAYERS)
PADDED = 1024 * HIDDEN


def preset(architecture: Architecture = SMALL, *, stored: int = 1, **facts: object) -> Preset:
    usual = Preset(
        name="small", family="", model_id="a/small", licence="mit", token_limit=4096, dtype="bfloat16",
        weights_bytes=stored, architecture=architecture,
    )  # fmt: skip
    return evolve(usual, **facts)


def held(made: Preset, bounds: tuple[int, int] = WHOLE, *, tensor: int = 1, experts: int = 1) -> int:
    weights = model_weights(made, "bfloat16")
    return weights.on_rank(bounds, layers=made.architecture.layers, ranks=Ranks(tensor=tensor, experts=experts))


def plain(name: str, *shape: int) -> Tensor:
    numbers = 1
    for side in shape:
        numbers *= side
    return Tensor(name=name, dtype="BF16", shape=shape, bytes=2 * numbers)


def tensors() -> Iterator[Tensor]:
    yield plain("model.embed_tokens.weight", ROWS, HIDDEN)
    yield plain("lm_head.weight", ROWS, HIDDEN)
    yield plain("model.norm.weight", HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        for name in ("q", "k", "v"):
            heads = HEADS if name == "q" else KV_HEADS
            yield plain(f"{at}.self_attn.{name}_proj.weight", heads * HEAD, HIDDEN)
        yield plain(f"{at}.self_attn.o_proj.weight", HIDDEN, HEADS * HEAD)
        for name in ("gate", "up", "down"):
            yield plain(f"{at}.mlp.{name}_proj.weight", WIDTH, HIDDEN)
        yield plain(f"{at}.input_layernorm.weight", HIDDEN)
        yield plain(f"{at}.post_attention_layernorm.weight", HIDDEN)


def test_one_gpu_holds_every_number():
    """The vocabulary is padded to 64 rows; everything else is as it is."""
    assert held(preset()) == 2 * (ALL + 2 * (PADDED - EMBEDDINGS))


@pytest.mark.parametrize(("ranks", "keys"), [(2, KEYS // 2), (4, KEYS // 2), (8, KEYS // 2)])
def test_keys_and_values_are_copied_where_there_are_more_ranks_than_heads(ranks: int, keys: int):
    """Two KV heads on four ranks: one each, twice; norms are on every rank."""
    layer = (QUERIES + DENSE) // ranks + keys + 2 * HIDDEN

    assert held(preset(), tensor=ranks) == 2 * (LAYERS * layer + 2 * PADDED // ranks + HIDDEN)


def test_the_first_stage_holds_the_embeddings_and_the_last_the_output():
    """What lies between holds layers only."""
    first, between, last = (held(preset(), bounds) for bounds in ((0, 1), (1, 3), (3, 4)))

    assert first == 2 * (LAYER + PADDED)
    assert between == 2 * 2 * LAYER
    assert last == 2 * (LAYER + PADDED + HIDDEN)


def test_tied_embeddings_are_on_the_first_stage_and_on_the_last():
    """One matrix where one GPU holds both ends, and two where it does not."""
    tied = preset(evolve(SMALL, tied_embeddings=True))

    assert held(tied) == held(preset()) - 2 * PADDED
    assert held(tied, (0, 2)) == held(preset(), (0, 2))
    assert held(tied, (2, 4)) == held(preset(), (2, 4))


@settings(deadline=None)
@given(ranks=st.sampled_from([1, 2, 4, 8]), stages=st.integers(1, LAYERS))
def test_tensors_say_what_counting_says(ranks: int, stages: int):
    """The names of a checkpoint in safetensors lead to the same pieces."""
    read = preset(tensors=tuple(tensors()))

    for bounds in stage_bounds(LAYERS, stages):
        assert held(read, bounds, tensor=ranks) == held(preset(), bounds, tensor=ranks)


def test_one_tensor_of_queries_keys_and_values_is_cut_by_heads():
    """Phi and Falcon store the three together, and the engine takes them apart."""
    fused = [tensor for tensor in tensors() if not any(f".{name}_proj" in tensor.name for name in "qkv")]
    both = (HEADS + 2 * KV_HEADS) * HEAD
    fused += [plain(f"model.layers.{layer}.self_attn.qkv_proj.weight", both, HIDDEN) for layer in range(LAYERS)]

    assert held(preset(tensors=tuple(fused)), tensor=4) == held(preset(), tensor=4)


def test_what_the_engine_does_not_read_is_not_counted():
    """Layers that draft, buffers of old formats, and a tensor listed twice."""
    more = [
        *tensors(),
        *tensors(),
        plain("mtp.layers.0.mlp.gate_proj.weight", 999, 999),
        plain(f"model.layers.{LAYERS}.mlp.gate_proj.weight", 999, 999),
        plain("model.layers.0.self_attn.rotary_emb.inv_freq", 32),
    ]

    assert held(preset(tensors=tuple(more))) == held(preset())


def test_an_unknown_tensor_is_on_every_rank():
    """Rather too much than too little."""
    more = (*tensors(), plain("a.new.thing.weight", 10, 10))

    assert held(preset(tensors=more), tensor=4) == held(preset(), tensor=4) + 200


def test_a_tower_for_images_is_on_the_first_stage_of_every_rank():
    """The engine does not cut it, or not by much."""
    more = (*tensors(), plain("vision_tower.layers.0.mlp.fc1.weight", 10, 10))

    assert held(preset(tensors=more), tensor=4) == held(preset(), tensor=4) + 200
    assert held(preset(tensors=more), (1, 4)) == held(preset(), (1, 4))


def with_experts() -> Architecture:
    experts = Experts(count=16, per_token=2, intermediate_size=32, shared_intermediate_size=64)
    return evolve(
        SMALL, name="Qwen3MoeForCausalLM", intermediate_size=None, experts=experts, feed_forwards=((FeedForward.MOE,),)
    )


def test_experts_are_cut_or_handed_out():
    """Each rank has a part of every expert, or some whole with expert parallelism; the router whole."""
    made = preset(with_experts())
    each = 16 * 3 * HIDDEN * 32
    layer = QUERIES // 4 + KEYS // 2 + each // 4 + 3 * HIDDEN * 64 // 4 + 16 * HIDDEN + 2 * HIDDEN

    # Every stage of a model with experts holds the embeddings.
    assert held(made, (1, 2), tensor=4) == 2 * (layer + 2 * PADDED // 4)
    assert held(made, (1, 2), tensor=4, experts=4) == held(made, (1, 2), tensor=4)


def test_experts_that_do_not_divide_are_rounded_up():
    """Sixteen experts over five ranks: the fullest has four."""
    made = preset(with_experts())
    each = 2 * 3 * HIDDEN * 32
    most = held(made, (1, 2), tensor=1, experts=5) - held(made, (1, 2), tensor=1, experts=16)

    assert most == 3 * each


def test_packed_weights_take_their_bits_and_scales():
    """Four bits and an 8-bit scale for 32 of them: experts only; the rest stays as it is."""
    mxfp4 = Quantisation(
        method="mxfp4", bits=4, group_size=32, scale_bits=8, unpacked=(Part.ATTENTION, Part.SHARED_EXPERTS)
    )
    plain_bytes, packed = held(preset(with_experts()), (1, 2)), held(preset(with_experts(), quantisation=mxfp4), (1, 2))
    numbers = 16 * 3 * HIDDEN * 32

    assert plain_bytes - packed == 2 * numbers - numbers * (4 + 8 / 32) / 8


def test_what_a_count_does_not_explain_is_on_every_first_rank():
    """A checkpoint of 1 MiB more: some part that the architecture does not tell of."""
    larger = preset(stored=2 * ALL + 2**20)

    assert held(larger, tensor=4) == held(preset(), tensor=4) + 2**20
    assert held(larger, (1, 4)) == held(preset(), (1, 4))


def test_tied_embeddings_stored_twice_are_read_once():
    """Some checkpoints hold the output embeddings though they equal the input ones."""
    tied = evolve(SMALL, tied_embeddings=True)

    assert held(preset(tied, stored=2 * ALL)) == held(preset(tied))


def test_a_number_that_is_missing_is_named():
    """The plan can then say which."""
    with pytest.raises(MissingNumber, match=r"architecture\.intermediate_size is not known"):
        model_weights(preset(evolve(SMALL, intermediate_size=None)), "bfloat16")


# Within this of the checkpoint's size, but for those with towers for images or sound of which no number is known.
NEAR = 0.02
UNCOUNTED = {"gemma-4-e2b-it", "nvidia-nemotron-nano-12b-v2-vl-bf16"}


@pytest.mark.parametrize(
    "made",
    [one for one in CATALOG.presets if one.quantisation is None and one.name not in UNCOUNTED],
    ids=lambda made: made.name,
)
def test_counts_agree_with_the_sizes_of_checkpoints(made: Preset):
    """All numbers of a model, counted from its architecture, against the published size."""
    counted = model_weights(evolve(made, weights_bytes=1), made.dtype).total
    draft = (made.architecture.draft_parameters or 0) * 2
    twice = made.architecture.embedding_parameters * 2 if made.architecture.tied_embeddings else 0

    assert any(abs(counted + draft + more - made.weights_bytes) <= NEAR * made.weights_bytes for more in (0, twice))
