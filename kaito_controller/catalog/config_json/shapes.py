"""The numbers of attention, latent attention, states and experts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Final

from kaito_controller.catalog.architecture import (
    AttentionShape,
    Experts,
    Indexer,
    LatentShape,
    Mixer,
    StateShape,
)
from kaito_controller.catalog.config_json.layers import MISTRAL_WINDOW
from kaito_controller.catalog.config_json.values import Values

_EXPERTS: Final = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
_PER_TOKEN: Final = (
    "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_top_k", "experts_per_token",
    "moe_k",
)  # fmt: skip


def attention_heads(text: Values) -> int:
    """Attention heads; 1 for a model without attention, which has none to cut."""
    if text.text("model_type") in {"mamba", "mamba2", "falcon_mamba"}:
        return 1
    return text.number("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads")


def kv_heads(text: Values, heads: int) -> int:
    """Heads of keys and values; Falcon's `multi_query` means one, whatever the number beside it says."""
    if text.text("model_type") in {"falcon", "RefinedWeb", "RefinedWebModel"}:
        if text.flag("multi_query") and not text.flag("new_decoder_architecture"):
            return 1
    elif text.flag("multi_query"):
        return 1
    return text.number(
        "n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups",
        "n_kv_heads", default=heads,
    )  # fmt: skip


def head_dim(text: Values, hidden: int, heads: int) -> int:
    """Width of one head."""
    found = text.optional("head_dim", "attention_head_dim", "hidden_size_per_head", "kv_channels")
    return found if found is not None else max(1, hidden // heads)


def attention_shapes(text: Values, kinds: set[Mixer]) -> dict[Mixer, AttentionShape]:
    """What each kind of attention has of its own."""
    shapes = {}
    if Mixer.SLIDING in kinds:
        window = text.optional("sliding_window", "sliding_window_size", largest=10**9)
        shapes[Mixer.SLIDING] = AttentionShape(
            window=window if window is not None else MISTRAL_WINDOW if text.text("model_type") == "mistral" else None,
            heads=text.optional("swa_num_attention_heads"),
            kv_heads=text.optional("swa_num_key_value_heads"),
            head_dim=text.optional("swa_head_dim"),
            value_head_dim=text.optional("swa_v_head_dim"),
        )
    if Mixer.CHUNKED in kinds:
        shapes[Mixer.CHUNKED] = AttentionShape(window=text.optional("attention_chunk_size", largest=10**9))
    full = AttentionShape(
        kv_heads=text.optional("num_global_key_value_heads"),
        head_dim=text.optional("global_head_dim"),
        value_head_dim=None if Mixer.LATENT in kinds else text.optional("v_head_dim"),
        shared_kv_matrix=text.flag("attention_k_eq_v"),
    )
    if Mixer.FULL in kinds and full != AttentionShape():
        shapes[Mixer.FULL] = full
    return shapes


def latent_shape(text: Values) -> LatentShape | None:
    """The numbers of latent attention; None for a model without it."""
    rank = text.optional("kv_lora_rank")
    if rank is None:
        return None
    return LatentShape(
        kv_lora_rank=rank,
        qk_rope_head_dim=text.number("qk_rope_head_dim"),
        qk_nope_head_dim=text.optional("qk_nope_head_dim"),
        v_head_dim=text.optional("v_head_dim"),
        q_lora_rank=text.optional("q_lora_rank"),
        indexer=_indexer(text),
    )


def _indexer(text: Values) -> Indexer | None:
    if not text.has("index_topk"):
        return None
    kinds = text.raw("indexer_types")
    return Indexer(
        heads=text.number("index_n_heads"),
        head_dim=text.number("index_head_dim"),
        top_k=text.number("index_topk"),
        layers=kinds.count("full") if isinstance(kinds, list) else None,
    )


def states(text: Values, kinds: set[Mixer], hidden: int) -> dict[Mixer, StateShape]:
    """The state of each kind of layer that keeps one."""
    return {kind: make(text, hidden) for kind, make in _STATES.items() if kind in kinds}


def _mamba(text: Values, hidden: int) -> StateShape:
    wide = text.optional("intermediate_size") if text.text("model_type") in {"mamba", "falcon_mamba"} else None
    rank = text.raw("time_step_rank", "mamba_dt_rank")
    return StateShape(
        intermediate_size=wide or text.number("expand", "mamba_expand", default=2) * hidden,
        state_size=text.number("state_size", "mamba_d_state", default=16),
        conv_kernel=text.number("conv_kernel", "mamba_d_conv", default=4),
        time_step_rank=rank if isinstance(rank, int) and rank > 0 else ceil(hidden / 16),
    )


def _mamba2(text: Values, hidden: int) -> StateShape:
    names = ("mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads")
    heads = text.number(*names)
    widths = [name for name in ("mamba_head_dim", "mamba_d_head", "mamba_headdim") if isinstance(text.raw(name), int)]
    inner = text.optional("mamba_d_ssm") or text.number("mamba_expand", "expand", default=2) * hidden
    own = text.optional("head_dim") if text.text("model_type") == "mamba2" else None
    return StateShape(
        heads=heads,
        head_dim=text.number(*widths) if widths else own or inner // heads,
        groups=text.number("n_groups", "mamba_n_groups", "mamba_ngroups", default=1),
        state_size=text.number("ssm_state_size", "mamba_d_state", "state_size"),
        conv_kernel=text.number("conv_kernel", "mamba_d_conv", default=4),
        dtype=_state_dtype(text),
    )


def _state_dtype(text: Values) -> str | None:
    """The precision that the engine keeps the state in (vLLM, NemotronHForCausalLMConfig and Qwen3_5…Config)."""
    found = text.text("mamba_ssm_cache_dtype", "mamba_ssm_dtype")
    if found in {"float32", "bfloat16", "float16"}:
        return found
    return "float32" if text.text("model_type") == "nemotron_h" else None


def _gated_delta(text: Values, _: int) -> StateShape:
    return StateShape(
        heads=text.number("linear_num_value_heads"),
        head_dim=text.number("linear_value_head_dim"),
        key_heads=text.number("linear_num_key_heads"),
        key_head_dim=text.number("linear_key_head_dim"),
        conv_kernel=text.number("linear_conv_kernel_dim", default=4),
        dtype=_state_dtype(text),
    )


def _kimi_delta(text: Values, _: int) -> StateShape:
    linear = text.mapping("linear_attn_config") or Values({}, "linear_attn_config")
    heads, width = linear.number("num_heads"), linear.number("head_dim")
    return StateShape(
        heads=heads,
        head_dim=width,
        key_heads=heads,
        key_head_dim=width,
        conv_kernel=linear.number("short_conv_kernel_size", default=4),
    )


def _lightning(text: Values, hidden: int) -> StateShape:
    heads = attention_heads(text)
    return StateShape(heads=heads, head_dim=head_dim(text, hidden, heads))


def _short_conv(text: Values, hidden: int) -> StateShape:
    return StateShape(
        conv_kernel=text.number("conv_L_cache", default=3), intermediate_size=text.number("conv_dim", default=hidden)
    )


_STATES: Final[Mapping[Mixer, Callable[[Values, int], StateShape]]] = {
    Mixer.MAMBA: _mamba,
    Mixer.MAMBA2: _mamba2,
    Mixer.GATED_DELTA: _gated_delta,
    Mixer.KIMI_DELTA: _kimi_delta,
    Mixer.LIGHTNING: _lightning,
    Mixer.SHORT_CONV: _short_conv,
}


def experts(text: Values) -> Experts | None:
    """The experts; None for a model without any, which some families write as zero or one."""
    found = text.raw(*_EXPERTS)
    if not isinstance(found, int) or isinstance(found, bool) or found <= 1:
        return None
    width = text.number("moe_intermediate_size", "expert_intermediate_size", "intermediate_size", "moe_ffn_hidden_size")
    return Experts(
        count=text.number(*_EXPERTS),
        per_token=text.number(*_PER_TOKEN, default=1),
        intermediate_size=width,
        shared_intermediate_size=_shared(text, width),
        latent_size=text.optional("moe_latent_size"),
    )


def _shared(text: Values, width: int) -> int:
    if text.text("model_type") == "llama4_text":
        return width
    for name in ("shared_expert_intermediate_size", "shared_intermediate_size"):
        if text.has(name):
            return text.count(name)
    shared = text.count("n_shared_experts") or text.count("num_shared_experts") or text.count("moe_num_shared_experts")
    return shared * (text.optional("moe_shared_expert_intermediate_size") or width)
