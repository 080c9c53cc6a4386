"""The tensors of a checkpoint as pieces of a model: which layer each belongs to, and how the engine cuts it.

Names say it, since the engine loads by name. Layers for drafting, duplicates that the engine does not read, and tensors
of old formats stay out; a tensor of no known name is taken to be copied to every rank, which is never too little.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from kaito_controller.catalog.architecture import Architecture
from kaito_controller.catalog.quantisation import Part
from kaito_controller.catalog.tensor import Tensor
from kaito_controller.sizing.pieces import Cut, Piece

_LAYER: Final = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.(.*)$")
_OTHER_INPUTS: Final = re.compile(
    r"vision|visual|audio|(?:^|\.)encoder\.|multi_modal|mm_projector|projector|patch_merger|image_newline|embed_vision"
)
_DRAFTS: Final = re.compile(r"(?:^|\.)(?:mtp|nextn|eagle)(?:\.|_)")
_UNREAD: Final = re.compile(r"rotary_emb\.inv_freq|masked_bias|attn\.bias$|\.num_batches_tracked")
_EMBEDDINGS: Final = re.compile(r"embed_tokens(?!_per_layer)|word_embeddings|\bwte\b|embed_in\b|tok_embeddings")
_LAYER_EMBEDDINGS: Final = re.compile(r"embed_tokens_per_layer")
_HEAD: Final = re.compile(r"lm_head|embed_out|^output\.|output_layer")
_LAST_NORM: Final = re.compile(r"(?:^|\.)(?:final_)?(?:norm|norm_f|layernorm|layer_norm|ln_f)\.")
_WHOLE: Final = re.compile(
    r"norm|q_a_proj|kv_a_proj|\bindexer\b|(?:mlp|moe|feed_forward|block_sparse_moe)\.gate\.|router|shared_expert_gate"
    r"|e_score_correction|per_layer|[fg]_a_proj|fc[12]_latent"
)
_KEYS: Final = re.compile(r"(?:^|[._])(?:k_proj|v_proj|wk|wv|key|value|k|v)\.")
_FUSED: Final = re.compile(r"qkv_proj|query_key_value|Wqkv|qkv\.|c_attn|wqkv")
_EXPERTS: Final = re.compile(r"(?:^|\.)experts[._]")
_PLAIN: Final = {"F64", "F32", "F16", "BF16"}


@frozen(kw_only=True)
class TensorPieces:
    """The pieces of each layer, and of the stages that hold the two embeddings."""

    layers: tuple[tuple[Piece, ...], ...]
    first: tuple[Piece, ...]
    last: tuple[Piece, ...]


def tensor_pieces(tensors: Sequence[Tensor], architecture: Architecture) -> TensorPieces:
    """Sort a checkpoint's tensors; each name counts once."""
    layers: list[list[Piece]] = [[] for _ in range(architecture.layers)]
    first: list[Piece] = []
    last: list[Piece] = []
    for tensor in {(tensor.name, tensor.dtype, tensor.shape): tensor for tensor in tensors}.values():
        if _DRAFTS.search(tensor.name) or _UNREAD.search(tensor.name):
            continue
        if _OTHER_INPUTS.search(tensor.name):
            first.append(_piece(tensor, Cut.WHOLE, part=Part.VISION))
        elif (found := _LAYER.search(tensor.name)) is not None:
            if int(found.group(1)) < architecture.layers:
                layers[int(found.group(1))] += _layer_pieces(tensor, found.group(2), architecture)
        elif _HEAD.search(tensor.name):
            last.append(_piece(tensor, Cut.VOCABULARY, units=tensor.shape[0] if tensor.shape else 1))
        elif _EMBEDDINGS.search(tensor.name) or _LAYER_EMBEDDINGS.search(tensor.name):
            first.append(_piece(tensor, Cut.VOCABULARY, units=tensor.shape[0] if tensor.shape else 1))
        elif _LAST_NORM.search(tensor.name):
            last.append(_piece(tensor, Cut.WHOLE))
        else:
            first.append(_piece(tensor, Cut.WHOLE))
    return TensorPieces(layers=tuple(tuple(layer) for layer in layers), first=tuple(first), last=tuple(last))


def _layer_pieces(tensor: Tensor, name: str, architecture: Architecture) -> list[Piece]:
    if _EXPERTS.search(name) and not re.search("shared_expert", name):
        count = architecture.experts.count if architecture.experts is not None else 1
        return [_piece(tensor, Cut.EXPERTS, units=count)]
    if len(tensor.shape) < 1 or _WHOLE.search(name):
        return [_piece(tensor, Cut.WHOLE)]
    if _FUSED.search(name):
        return _fused(tensor, architecture)
    if _KEYS.search(name):
        return [_piece(tensor, Cut.KEYS, units=architecture.kv_heads)]
    return [_piece(tensor, Cut.RANKS)]


def _fused(tensor: Tensor, architecture: Architecture) -> list[Piece]:
    """Query, key and value in one tensor: the share of each follows from the heads."""
    whole = _piece(tensor, Cut.RANKS)
    heads, pairs = architecture.attention_heads, 2 * architecture.kv_heads
    keys = Piece(
        part=whole.part,
        cut=Cut.KEYS,
        units=architecture.kv_heads,
        numbers=whole.numbers * pairs // (heads + pairs),
        bytes=None if whole.bytes is None else whole.bytes * pairs // (heads + pairs),
    )
    rest = Piece(
        part=whole.part,
        cut=Cut.RANKS,
        numbers=whole.numbers - keys.numbers,
        bytes=None if whole.bytes is None else whole.bytes - (keys.bytes or 0),
    )
    return [rest, keys]


def _piece(tensor: Tensor, cut: Cut, *, units: int = 1, part: Part = Part.DENSE) -> Piece:
    """Plain numbers are loaded in the precision that is served; packed ones, and their scales, as they are."""
    scale = "scale" in tensor.name.rpartition(".")[2]
    own = None if tensor.dtype in _PLAIN and not scale else tensor.total_bytes
    return Piece(part=part, cut=cut, numbers=tensor.numbers * tensor.count, units=max(1, units), bytes=own)
