"""The memory of one GPU while a LoRA or QLoRA adapter is trained: a ledger, each entry with its formula and source."""

from __future__ import annotations

from math import ceil
from typing import Final

from kaito_controller.catalog.architecture import Architecture, FeedForward
from kaito_controller.catalog.model import DTYPE_BYTES, Preset
from kaito_controller.catalog.quantisation import Part, Quantisation
from kaito_controller.sizing.memory import LedgerEntry, total
from kaito_controller.sizing.missing import known
from kaito_controller.sizing.overheads import outside_entry
from kaito_controller.sizing.pieces import last_pieces
from kaito_controller.sizing.training_options import FOUR_BITS, TrainingOptions
from kaito_controller.sizing.weights import model_weights

# peft keeps the adapter in float32 whatever the model's precision (get_peft_model, autocast_adapter_dtype).
_ADAPTER_BYTES: Final = 4
# For each number of the adapter: itself, its gradient, and Adam's two averages (Kingma and Ba, 2015), all of 4 bytes.
_COPIES: Final = 4
# DistributedDataParallel gathers gradients in buckets of its own (PyTorch, gradient_as_bucket_view false).
_BUCKET_COPIES: Final = 1
# QLoRA (Dettmers et al., 2023): blocks of 64 weights share a scale of 32 bits, or of 8 bits with double quantisation.
_BLOCK: Final = 64
_SCALE_BITS: Final = 32
_PACKED_SCALE_BITS: Final = 8
# peft's prepare_model_for_kbit_training turns everything that is not packed into float32.
_UNPACKED_BYTES: Final = 4
# For each logit: 16 bit, its float32 copy for the loss (transformers, loss/loss_utils.py), the softmax and both
# gradients.
_LOGIT_BYTES: Final = 2 + 4 + 4 + 4 + 2
# What one layer keeps for its way back, beside each product its gradient (Korthikanti et al., 2022, section 4.1, with
# the products of attention left to a fused kernel that does not keep them).
_WITH_GRADIENT: Final = 2
# What PyTorch's allocator holds beyond what is in use, of all that comes and goes. A margin, not a measurement.
_SLACK_PERCENT: Final = 15


def training_ledger(preset: Preset, options: TrainingOptions, *, dtype: str, gpus: int) -> tuple[LedgerEntry, ...]:
    """What each of `gpus` GPUs holds of a model that is computed in `dtype`.

    Raises:
        MissingNumber: the architecture lacks a number that the sizes follow from.
    """
    architecture = preset.architecture
    entries = (
        _adapter(architecture, options, gpus),
        _kept(architecture, options, dtype),
        _layer(architecture, options, dtype),
        _logits(architecture, options),
        outside_entry(gpus),
    )
    return (_weights(preset, options, dtype), *entries, _slack(entries))


def _weights(preset: Preset, options: TrainingOptions, dtype: str) -> LedgerEntry:
    if options.weight_bits is None:
        weights = model_weights(preset, dtype)
        return LedgerEntry(
            entry="weights",
            bytes=weights.total,
            formula=f"a whole copy in {dtype}",
            source=weights.source,
        )
    packed = model_weights(preset, dtype, packing=_packing(options)).total
    # All that is not packed, once more in float32 instead of `dtype`.
    plain = _plain_numbers(preset.architecture)
    grown = plain * (_UNPACKED_BYTES - DTYPE_BYTES[dtype])
    scales = f" and {_scale_bits(options)}/{_BLOCK} for scales" if options.weight_bits == FOUR_BITS else ""
    return LedgerEntry(
        entry="weights",
        bytes=packed + max(0, grown),
        formula=(
            f"matrices of layers in {options.weight_bits} bits{scales}, fused experts in {dtype}, {plain} numbers of "
            "embeddings in float32"
        ),
        source="QLoRA (Dettmers et al., 2023), section 3; peft, prepare_model_for_kbit_training",
    )


def _packing(options: TrainingOptions) -> Quantisation:
    """Bitsandbytes packs the linear layers; transformers 5 keeps experts as one tensor, which it leaves alone."""
    bits = options.weight_bits or 16
    if bits == FOUR_BITS:
        return Quantisation(
            method="bitsandbytes",
            bits=bits,
            group_size=_BLOCK,
            scale_bits=_scale_bits(options),
            unpacked=(Part.EXPERTS,),
        )
    return Quantisation(method="bitsandbytes", bits=bits, unpacked=(Part.EXPERTS,))


def _scale_bits(options: TrainingOptions) -> int:
    return _PACKED_SCALE_BITS if options.double_quantisation else _SCALE_BITS


def _plain_numbers(architecture: Architecture) -> int:
    """Numbers of the embeddings: once where input and output share them."""
    head = next(iter(last_pieces(architecture))).numbers
    return architecture.embedding_parameters + (0 if architecture.tied_embeddings else head)


def _adapter(architecture: Architecture, options: TrainingOptions, gpus: int) -> LedgerEntry:
    """Two thin matrices beside each linear layer, with what their training keeps: the most, if all are taught."""
    copies = _COPIES + (_BUCKET_COPIES if gpus > 1 else 0)
    width = adapter_width(architecture)
    numbers = options.rank * width * architecture.layers
    return LedgerEntry(
        entry="adapter, gradients, Adam",
        bytes=numbers * _ADAPTER_BYTES * copies,
        formula=(
            f"rank {options.rank} x {architecture.layers} layers x {width} rows and columns x {_ADAPTER_BYTES} bytes x "
            f"{copies} copies"
        ),
        source="LoRA (Hu et al., 2021); Adam (Kingma and Ba, 2015); peft, autocast_adapter_dtype",
    )


def adapter_width(architecture: Architecture) -> int:
    """Rows and columns of all linear layers of a layer, experts left out: an adapter has `rank` numbers for each."""
    hidden = architecture.hidden_size
    queries = architecture.attention_heads * architecture.head_dim
    keys = architecture.kv_heads * architecture.head_dim
    wide = _feed_width(architecture)
    matrices = 3 if architecture.gated_mlp else 2
    return 2 * (hidden + queries) + 2 * (hidden + keys) + matrices * (hidden + wide)


def _feed_width(architecture: Architecture) -> int:
    if architecture.intermediate_size is not None:
        return architecture.intermediate_size
    return architecture.experts.shared_intermediate_size if architecture.experts is not None else 0


def _kept(architecture: Architecture, options: TrainingOptions, dtype: str) -> LedgerEntry:
    """What every layer keeps until the way back: its inputs, or all it computed."""
    tokens, size = options.batch * options.length, _stream_bytes(options, dtype)
    width = architecture.hidden_size if options.checkpointing else _layer_width(architecture)
    what = "inputs of each layer" if options.checkpointing else "all products of each layer"
    return LedgerEntry(
        entry="kept activations",
        bytes=architecture.layers * tokens * width * size,
        formula=f"{architecture.layers} layers x {tokens} tokens x {width} numbers x {size} bytes ({what})",
        source="Reducing Activation Recomputation (Korthikanti et al., 2022), section 5",
    )


def _layer(architecture: Architecture, options: TrainingOptions, dtype: str) -> LedgerEntry:
    """The layer that is on its way back: all its products with their gradients, and its widest matrix unpacked."""
    tokens, size = options.batch * options.length, _stream_bytes(options, dtype)
    width = _layer_width(architecture)
    unpacked = 0
    if options.weight_bits is not None:
        unpacked = architecture.hidden_size * _feed_width(architecture) * DTYPE_BYTES[dtype]
    more = f" + {unpacked} bytes of an unpacked matrix" if unpacked else ""
    return LedgerEntry(
        entry="activations of a layer",
        bytes=tokens * width * size * _WITH_GRADIENT + unpacked,
        formula=f"{tokens} tokens x {width} numbers x {size} bytes x {_WITH_GRADIENT}{more}",
        source="Reducing Activation Recomputation (Korthikanti et al., 2022), section 4.1",
    )


def _layer_width(architecture: Architecture) -> int:
    """Numbers of one token that a layer computes: norms, attention, the feed-forward part."""
    queries = architecture.attention_heads * architecture.head_dim
    keys = architecture.kv_heads * architecture.head_dim
    wide = 0
    if FeedForward.DENSE in architecture.feed_forward_kinds:
        wide = known(architecture.intermediate_size, "intermediate_size", "the size of its activations follows from it")
    if FeedForward.MOE in architecture.feed_forward_kinds and architecture.experts is not None:
        experts = architecture.experts
        routed = experts.per_token * (experts.intermediate_size + architecture.hidden_size)
        wide = max(wide, routed + experts.shared_intermediate_size)
    return 5 * architecture.hidden_size + 2 * queries + 2 * keys + 4 * wide


def _stream_bytes(options: TrainingOptions, dtype: str) -> int:
    """Bytes of a number between layers: float32 where embeddings and norms are (see `_UNPACKED_BYTES`)."""
    return DTYPE_BYTES[dtype] if options.weight_bits is None else _UNPACKED_BYTES


def _logits(architecture: Architecture, options: TrainingOptions) -> LedgerEntry:
    tokens = options.batch * options.length
    return LedgerEntry(
        entry="logits",
        bytes=tokens * architecture.vocabulary_size * _LOGIT_BYTES,
        formula=f"{tokens} tokens x {architecture.vocabulary_size} logits x {_LOGIT_BYTES} bytes",
        source="transformers, loss/loss_utils.py: the loss is computed in float32",
    )


def _slack(moving: tuple[LedgerEntry, ...]) -> LedgerEntry:
    return LedgerEntry(
        entry="allocator",
        bytes=ceil(total(moving) * _SLACK_PERCENT / 100),
        formula=f"{_SLACK_PERCENT}% of all but the weights",
        source="a margin for fragments that PyTorch's allocator cannot give back",
    )
