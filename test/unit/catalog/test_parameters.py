"""Numbers of every preset, counted from its architecture part by part, against known counts and sizes of files."""

from __future__ import annotations

from collections import Counter

import pytest

from kaito_controller.catalog.architecture import Architecture, AttentionShape, FeedForward, LatentShape, Mixer
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import DTYPE_BYTES, Preset
from kaito_controller.catalog.quantisation import Part

CATALOG = load()

# Besides matrices, layers of these classes have: biases of queries, keys and values; biases everywhere and one more
# number a head; norms of queries and keys; four norms a layer.
QKV_BIASES = {"Qwen2ForCausalLM"}
BIASES = {"GptOssForCausalLM"}
GEMMA = {
    "Gemma3ForConditionalGeneration",
    "Gemma4ForConditionalGeneration",
    "Gemma4UnifiedForConditionalGeneration",
}
HEAD_NORMS = GEMMA | {
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Qwen3_5ForConditionalGeneration",
    "Qwen3_5MoeForConditionalGeneration",
}


def decoder(a: Architecture) -> Counter[Part]:
    """Numbers of the language model by part, without vision and drafting."""
    if a.name in ODD:
        return Counter({Part.DENSE: ODD[a.name](a)})
    count: Counter[Part] = Counter({Part.EMBEDDINGS: a.embedding_parameters, Part.NORMS: a.hidden_size})
    count[Part.HEAD] = 0 if a.tied_embeddings else a.embedding_parameters
    for mixers, feed_forwards in zip(a.layer_mixers, a.layer_feed_forwards, strict=True):
        for mixer in mixers:
            count += _mixer(a, mixer)
        for feed_forward in feed_forwards:
            count += _feed_forward(a, feed_forward)
    if a.latent is not None and a.latent.indexer is not None:
        count[Part.ATTENTION] += _indexers(a, a.latent)
    if a.per_layer_embedding is not None:
        width = a.layers * a.per_layer_embedding
        count[Part.EMBEDDINGS] += a.per_layer_vocabulary * width
        count[Part.DENSE] += 3 * a.hidden_size * width
    return count


def _mixer(a: Architecture, mixer: Mixer) -> Counter[Part]:
    if mixer in {Mixer.FULL, Mixer.SLIDING}:
        return _attention(a, a.attention.get(mixer, AttentionShape()))
    if mixer is Mixer.LATENT:
        return _latent(a, a.latent)
    if mixer is Mixer.GATED_DELTA:
        state = a.states[mixer]
        keys, values = state.key_heads * state.key_head_dim, state.heads * state.head_dim
        projections = a.hidden_size * (2 * keys + 3 * values + 2 * state.heads)
        mixed = (2 * keys + values) * state.conv_kernel + 2 * state.heads + state.head_dim
        return Counter({Part.STATE: projections + mixed, Part.NORMS: a.hidden_size})
    if mixer is Mixer.MAMBA2:
        state = a.states[mixer]
        inner, groups = state.heads * state.head_dim, 2 * state.groups * state.state_size
        projections = a.hidden_size * (3 * inner + groups + state.heads)
        mixed = (inner + groups) * (state.conv_kernel + 1) + 3 * state.heads + inner
        return Counter({Part.STATE: projections + mixed, Part.NORMS: a.hidden_size})
    assert mixer is Mixer.NONE, mixer
    return Counter()


def _attention(a: Architecture, shape: AttentionShape) -> Counter[Part]:
    heads, kv_heads = shape.heads or a.attention_heads, shape.kv_heads or a.kv_heads
    head_dim = shape.head_dim or a.head_dim
    queries, keys = heads * head_dim, kv_heads * head_dim
    count = (3 if a.attention_gate else 2) * a.hidden_size * queries
    count += (1 if shape.shared_kv_matrix else 2) * a.hidden_size * keys
    if a.name in QKV_BIASES | BIASES:
        count += queries + 2 * keys
    if a.name in BIASES:
        count += a.hidden_size + heads
    norms = a.hidden_size + (2 * head_dim if a.name in HEAD_NORMS else 0) + (2 * a.hidden_size) * (a.name in GEMMA)
    return Counter({Part.ATTENTION: count, Part.NORMS: norms})


def _latent(a: Architecture, latent: LatentShape) -> Counter[Part]:
    queries = a.attention_heads * (latent.qk_nope_head_dim + latent.qk_rope_head_dim)
    values = a.attention_heads * latent.v_head_dim
    count = latent.q_lora_rank * (a.hidden_size + queries)
    count += a.hidden_size * (latent.kv_lora_rank + latent.qk_rope_head_dim)
    count += latent.kv_lora_rank * (a.attention_heads * latent.qk_nope_head_dim + values) + values * a.hidden_size
    return Counter({Part.ATTENTION: count, Part.NORMS: a.hidden_size + latent.kv_lora_rank + latent.q_lora_rank})


def _indexers(a: Architecture, latent: LatentShape) -> int:
    indexer = latent.indexer
    queries = latent.q_lora_rank * indexer.heads * indexer.head_dim
    return (indexer.layers or a.layers) * (queries + a.hidden_size * (indexer.head_dim + indexer.heads))


def _feed_forward(a: Architecture, kind: FeedForward) -> Counter[Part]:
    matrices = 3 if a.gated_mlp else 2
    if kind is FeedForward.NONE:
        return Counter()
    if kind is FeedForward.DENSE:
        return Counter({Part.DENSE: matrices * a.hidden_size * a.intermediate_size, Part.NORMS: a.hidden_size})
    experts = a.experts
    width = experts.latent_size or a.hidden_size
    biases = experts.count * (2 * experts.intermediate_size + a.hidden_size) if a.name in BIASES else 0
    shared = matrices * a.hidden_size * experts.shared_intermediate_size
    return Counter(
        {
            Part.EXPERTS: experts.count * matrices * width * experts.intermediate_size + biases,
            Part.SHARED_EXPERTS: shared + (2 * width * a.hidden_size if experts.latent_size else 0),
            Part.ROUTER: experts.count * (a.hidden_size + (1 if biases else 0)),
            Part.NORMS: a.hidden_size,
        }
    )


def _phi(a: Architecture) -> int:
    """Phi-2: every linear layer has a bias, two MLP matrices, one layer norm (weight and bias) a layer."""
    attention = 4 * (a.hidden_size**2 + a.hidden_size)
    mlp = 2 * a.hidden_size * a.intermediate_size + a.intermediate_size + a.hidden_size
    ends = 2 * a.embedding_parameters + a.vocabulary_size + 2 * a.hidden_size
    return ends + a.layers * (attention + mlp + 2 * a.hidden_size)


def _falcon(a: Architecture) -> int:
    """Falcon: no biases, two MLP matrices; one layer norm a layer with one KV head, two with several."""
    q, kv = a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    norms = 1 if a.kv_heads == 1 else 2
    attention = a.hidden_size * (q + 2 * kv) + q * a.hidden_size
    layer = attention + 2 * a.hidden_size * a.intermediate_size + 2 * norms * a.hidden_size
    return 2 * a.embedding_parameters + a.layers * layer + 2 * a.hidden_size


ODD = {"PhiForCausalLM": _phi, "FalconForCausalLM": _falcon}


def packed_bytes(preset: Preset) -> float:
    """Bytes of the language model as the checkpoint packs it, with vision and drafting as far as they are known."""
    a, packing = preset.architecture, preset.quantisation
    extra = (a.vision_parameters or 0, a.draft_parameters or 0)
    counts = decoder(a)
    if packing is None:
        return float(DTYPE_BYTES[preset.dtype] * (counts.total() + sum(extra)))
    plain = {Part.EMBEDDINGS, Part.NORMS, Part.ROUTER, *packing.unpacked}
    bits = {part: 16.0 if part in plain else packing.bits_of_part.get(part, packing.bits_per_weight) for part in counts}
    # Layers for drafting are packed like the others in FP8 checkpoints only.
    draft = packing.bits if packing.method == "fp8" else 16
    return (sum(counts[part] * bits[part] for part in counts) + extra[0] * 16 + extra[1] * draft) / 8


# keras-team/keras-hub, keras_hub/src/models/*/*_presets.py, `params`.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("qwen3-0.6b", 596049920),
        ("qwen3-1.7b", 1720574976),
        ("qwen3-4b", 4022468096),
        ("qwen3-8b", 8190735360),
        ("qwen3-14b", 14768307200),
        ("qwen3-32b", 32762123264),
        ("qwen3-30b-a3b", 30532122624),
        ("qwen3-235b-a22b", 235093634560),
        ("llama-2-7b", 6738415616),
        ("phi-3-mini-4k-instruct", 3821079552),
        ("phi-3-mini-128k-instruct", 3821079552),
        ("mistral-7b-v0.1", 7241732096),
    ],
)
def test_counts_equal_published_ones(name: str, parameters: int):
    """Models whose parameters others counted have just as many by our numbers."""
    preset = CATALOG.preset(name)

    assert parameters == preset.parameters == decoder(preset.architecture).total()


COUNTED = [preset for preset in CATALOG.presets if preset.parameters is not None]


@pytest.mark.parametrize("preset", COUNTED, ids=lambda preset: preset.name)
def test_parameters_follow_from_the_architecture(preset: Preset):
    """The parameter count equals the one computed from layers, widths and heads, and the vision tower's."""
    a = preset.architecture
    wider = 3 * a.hidden_size * a.intermediate_size * a.kv_shared_layers if preset.name in DOUBLE_WIDE else 0

    assert preset.parameters == decoder(a).total() + (a.vision_parameters or 0) + wider


# The layers that keep no cache of their own are twice as wide: the numbers have no place for that.
DOUBLE_WIDE = {"gemma-4-e2b-it"}
KNOWN = [
    preset
    for preset in CATALOG.presets
    if (Mixer.COMPRESSED,) not in preset.architecture.mixers and preset.name not in DOUBLE_WIDE
]


@pytest.mark.parametrize("preset", KNOWN, ids=lambda preset: preset.name)
def test_weights_are_the_numbers_as_packed(preset: Preset):
    """The size of the hub's files is that of the counted numbers; what is missing is a vision tower not described."""
    size = packed_bytes(preset)

    assert size <= preset.weights_bytes * 1.001
    tower = 0 if preset.name not in WITH_TOWER else 6e9
    assert preset.weights_bytes - size <= max(tower, preset.weights_bytes * 0.015)


WITH_TOWER = {
    preset.name
    for preset in CATALOG.presets
    if preset.architecture.vision_parameters is None
    and preset.architecture.name.startswith(("Mistral", "KimiK25", "NemotronH_Nano_VL"))
}
