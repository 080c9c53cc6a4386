"""What a GPU holds beside weights and KV cache: activations, CUDA graphs, the engine itself, adapters.

The engine measures these when it starts. Here they are estimated, from the sizes of the tensors that the largest step
makes where those are known, and from published logs of vLLM where not; each constant says which.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from kaito_controller.catalog.architecture import ATTENTION, Architecture, FeedForward, Mixer
from kaito_controller.catalog.model import DTYPE_BYTES
from kaito_controller.sizing.engine import Engine
from kaito_controller.sizing.layer_caches import attention_shape, latent_shape, state_shape
from kaito_controller.sizing.memory import GIB, MIB, LedgerEntry

# Loaded weights are up to 1 % larger than their tensors: 14.99 GiB of 14.96 for Llama-3.1-8B (vllm-project/vllm#17122),
# 13.95 of 13.76 for a rank of R1-Distill-Qwen-14B (#13061), 48.5 of 48.07 for gemma-4-26B-A4B (myoceane.fr).
LOADING_PERCENT: Final = 1
# Bytes of each logit while the sampler is tried out with as many requests as a step may have. Up to 0.18 the logits
# were sorted: 1.26 GiB with Llama-3-8B and 256 requests (vllm-project/vllm#10511), 7.7 GiB with gpt-oss-120b and 1024
# (#27508); from 0.19 on they are not: 1.2 GiB beside weights and cache in all with gpt-oss-20b, 1.3 GiB with
# gemma-4-26B-A4B (myoceane.fr, ai-vllm-a100-gemma-4).
_SORTED_LOGIT_BYTES: Final = 42
_LOGIT_BYTES: Final = 18
_UNSORTED_SINCE: Final = (0, 19)
# Trying out the largest image: 2.0 GiB with Qwen3.8-27B (syv-ai/qwen38-27b-rtx3090#107).
_VISION_BYTES: Final = 2 * GIB
# Outside PyTorch: 0.16 to 0.25 GiB (vllm-project/vllm#12126, #13061), with room for what the allocator keeps; and with
# several ranks the buffers of NCCL and of the custom all-reduce.
_OUTSIDE_BYTES: Final = 350 * MIB
_RANKS_BYTES: Final = 512 * MIB
# CUDA graphs: every captured size holds kernels of every layer, in two modes (vllm-project/vllm#30515; 0.36 GiB for 16
# sizes of 64 layers, gpustack/runner#251; 0.6 GiB for 51 sizes of Llama-3.1-8B).
_GRAPH_BYTES: Final = 170_000
_GRAPH_MODES: Final = 2
# Kernels for mxfp4 want the width of an expert in multiples of this (13.72 GiB loaded of 12.8 for gpt-oss-20b).
_MXFP4_WIDTH: Final = 256


@frozen(kw_only=True)
class EngineAge:
    """The release of the engine, as far as its memory depends on it."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str | None) -> EngineAge | None:
        """Read "0.19.1"; None for no release, which stands for the newest."""
        parts = (text or "").split(".")
        if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):  # noqa: PLR2004
            return None
        return cls(major=int(parts[0]), minor=int(parts[1]))


def loading_bytes(weights: int, padding: int) -> int:
    """Bytes that loaded weights take beyond their tensors; `padding` is what packed experts grow by."""
    return -(-weights * LOADING_PERCENT // 100) + padding


def loading_entry(weights: int, padding: int) -> LedgerEntry:
    """Room that loaded weights take beyond their tensors."""
    formula = f"{LOADING_PERCENT}% of weights" + (f" + {padding} bytes that pad packed experts" if padding else "")
    return LedgerEntry(
        entry="loading margin",
        bytes=loading_bytes(weights, padding),
        formula=formula,
        source="vLLM logs, see sizing/overheads.py",
    )


def expert_padding(architecture: Architecture, expert_bytes: int, tensor: int) -> int:
    """Bytes that packed experts grow by when the width of each is made a multiple that the kernels take."""
    experts = architecture.experts
    if experts is None:
        return 0
    padded = -(-experts.intermediate_size // (tensor * _MXFP4_WIDTH)) * tensor * _MXFP4_WIDTH
    return expert_bytes * (padded - experts.intermediate_size) // experts.intermediate_size


def activation_entry(
    architecture: Architecture, engine: Engine, *, dtype: str, tensor: int, age: EngineAge | None
) -> LedgerEntry:
    """The most that a step takes beside weights and cache: its widest layer, the sampler, or an image."""
    size = DTYPE_BYTES[dtype]
    widest = _widest(architecture, tensor)
    step = engine.batched_tokens * widest * size
    old = age is not None and (age.major, age.minor) < _UNSORTED_SINCE
    per_logit = _SORTED_LOGIT_BYTES if old else _LOGIT_BYTES
    sampler = engine.sequences * architecture.vocabulary_size * per_logit
    vision = _VISION_BYTES if architecture.vision_parameters else 0
    formula = (
        f"largest of {engine.batched_tokens} tokens x {widest} numbers x {size} bytes (widest "
        f"layer), {engine.sequences} requests x {architecture.vocabulary_size} logits x {per_logit} bytes (sampler)"
        + (f", {vision} bytes (largest image)" if vision else "")
    )
    return LedgerEntry(
        entry="activations",
        bytes=max(step, sampler, vision),
        formula=formula,
        source="shapes of vLLM's profile run; constants from logs, see sizing/overheads.py",
    )


def graphs_bytes(engine: Engine, layers: int) -> int:
    """Bytes of the CUDA graphs of a stage of `layers` layers."""
    return engine.graphs * _GRAPH_MODES * layers * _GRAPH_BYTES


def graphs_entry(engine: Engine, layers: int) -> LedgerEntry:
    """CUDA graphs of a stage of `layers` layers."""
    return LedgerEntry(
        entry="CUDA graphs",
        bytes=graphs_bytes(engine, layers),
        formula=f"{engine.graphs} sizes x {_GRAPH_MODES} modes x {layers} layers x {_GRAPH_BYTES} bytes",
        source="vLLM logs, see sizing/overheads.py",
    )


def outside_entry(ranks: int) -> LedgerEntry:
    """What the CUDA runtime and the exchange between ranks take."""
    more = _RANKS_BYTES if ranks > 1 else 0
    return LedgerEntry(
        entry="outside PyTorch",
        bytes=_OUTSIDE_BYTES + more,
        formula=f"{_OUTSIDE_BYTES} bytes" + (f" + {more} bytes between {ranks} ranks" if more else ""),
        source="vLLM logs, see sizing/overheads.py",
    )


def adapters_entry(
    architecture: Architecture, *, slots: int, rank: int, dtype: str, tensor: int, layers: int
) -> LedgerEntry:
    """Slots for LoRA adapters: two thin matrices beside each matrix of a layer.

    The engine makes all slots when it starts, each of the highest rank (vLLM, lora/layers); one half of each pair is
    cut over tensor ranks with the matrix that it belongs to, the other copied.
    """
    width = _adapter_width(architecture, tensor)
    return LedgerEntry(
        entry="LoRA adapters",
        bytes=slots * rank * layers * width * DTYPE_BYTES[dtype],
        formula=f"{slots} slots x rank {rank} x {layers} layers x {width} numbers x {DTYPE_BYTES[dtype]} bytes",
        source="vLLM, lora/layers",
    )


def _adapter_width(architecture: Architecture, tensor: int) -> int:
    hidden = architecture.hidden_size
    queries = architecture.attention_heads * architecture.head_dim
    keys = 2 * architecture.kv_heads * architecture.head_dim
    wide = architecture.intermediate_size or (
        architecture.experts.intermediate_size * architecture.experts.count if architecture.experts else 0
    )
    copied = 3 * hidden + queries // tensor + 2 * hidden + wide // tensor
    cut = (queries + keys) // tensor + hidden + 2 * wide // tensor + hidden
    return copied + cut


def _widest(architecture: Architecture, tensor: int) -> int:
    """Numbers of one token that the widest layer makes at a time, with the hidden state and its sum beside them."""
    feeds = architecture.feed_forward_kinds
    widths = [_mixer_width(architecture, part, tensor) for part in architecture.mixer_kinds]
    if FeedForward.DENSE in feeds and architecture.intermediate_size is not None:
        widths.append(3 * architecture.intermediate_size // tensor + architecture.hidden_size)
    if FeedForward.MOE in feeds and architecture.experts is not None:
        experts = architecture.experts
        inner = 3 * experts.intermediate_size // tensor
        widths.append(experts.per_token * (inner + (experts.latent_size or architecture.hidden_size)))
    return 2 * architecture.hidden_size + max(widths, default=0)


def _mixer_width(architecture: Architecture, part: Mixer, tensor: int) -> int:
    if part in ATTENTION:
        shape = attention_shape(architecture, part)
        heads = (shape.heads or 1) * (3 if architecture.attention_gate else 2) + 2 * (shape.kv_heads or 1)
        return heads * (shape.head_dim or 0) // tensor
    if part is Mixer.LATENT:
        latent = latent_shape(architecture)
        # Keys and values are unpacked for the whole prompt of a step, and its query and output stand beside them.
        wide = 2 * ((latent.qk_nope_head_dim or 0) + latent.qk_rope_head_dim) + 2 * (latent.v_head_dim or 0)
        return architecture.attention_heads * wide // tensor + latent.kv_lora_rank
    if part is Mixer.NONE:
        return 0
    state = state_shape(architecture, part)
    inner = state.intermediate_size or (state.heads or 0) * (state.head_dim or 0)
    return 6 * inner // tensor
