"""The memory ledger: what one GPU must hold, entry by entry, in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Final

from attrs import frozen

from kaito_controller.catalog.architecture import Architecture
from kaito_controller.catalog.model import DTYPE_BYTES, Preset

GIB: Final = 1024**3
MIB: Final = 1024**2

# Constants of upstream's node estimator (pkg/workspace/estimator/nodesestimator/estimator.go), which measured them with
# vLLM 0.10.1 (presets/workspace/generator/model-sku-calculation.md).
_ESTIMATOR: Final = "upstream nodesestimator/estimator.go, measured with vLLM 0.10.1"
LOADING_MARGIN: Final = Fraction(2, 100)
GRAPH_MARGIN: Final = Fraction(5, 100)
ACTIVATION_BYTES: Final = 17 * GIB // 10
NON_TORCH_BYTES: Final = 6 * GIB // 10


@frozen(kw_only=True)
class LedgerEntry:
    """One thing that takes memory of a GPU: how many bytes, by which formula, after which source."""

    entry: str
    bytes: int
    formula: str
    source: str


@frozen(kw_only=True)
class Split:
    """How one copy of a model is cut: into `pipeline` stages of layers, each cut `tensor` ways across its matrices."""

    tensor: int
    pipeline: int

    def layers(self, architecture: Architecture) -> int:
        """Layers of the largest stage."""
        return ceil(Fraction(architecture.layers, self.pipeline))


def served_weights_bytes(preset: Preset, dtype: str) -> int:
    """The checkpoint's size once it is loaded in `dtype`."""
    return preset.weights_bytes * DTYPE_BYTES[dtype] // DTYPE_BYTES[preset.dtype]


def weights_per_gpu(preset: Preset, dtype: str, split: Split) -> int:
    """Weights on the fullest GPU: its stage's layers, and the embeddings that its stage holds, over the tensor ranks.

    One stage holds both embedding matrices; of several stages the first holds one and the last the other.
    """
    architecture = preset.architecture
    total = served_weights_bytes(preset, dtype)
    embedding = architecture.embedding_parameters * DTYPE_BYTES[dtype]
    matrices = 1 if architecture.tied_embeddings else 2
    layer = Fraction(max(0, total - matrices * embedding), architecture.layers)
    held = matrices if split.pipeline == 1 else 1
    return ceil((layer * split.layers(architecture) + held * embedding) / split.tensor)


def kv_bytes_per_token(architecture: Architecture, dtype: str, split: Split) -> int:
    """Bytes that one token of context takes on one GPU: key and value of every KV head of the rank, in every layer.

    With more tensor ranks than KV heads the engine keeps a copy of a head on each rank, so a rank never holds less than
    one head (vLLM, model_executor/models: `num_kv_heads = max(1, total_num_kv_heads // tp_size)`).
    """
    heads = max(1, architecture.kv_heads // split.tensor)
    return 2 * heads * architecture.head_dim * split.layers(architecture) * DTYPE_BYTES[dtype]


def fixed_entries(preset: Preset, dtype: str, split: Split) -> tuple[LedgerEntry, ...]:
    """Everything on one GPU that does not depend on the length of the context."""
    weights = weights_per_gpu(preset, dtype, split)
    loading = ceil(weights * LOADING_MARGIN)
    graphs = ceil((weights + loading) * GRAPH_MARGIN)
    stage = f"{split.layers(preset.architecture)} of {preset.architecture.layers} layers and the embeddings held there"
    return (
        LedgerEntry(
            entry="weights",
            bytes=weights,
            formula=f"{stage}, {dtype}, / {split.tensor} tensor ranks",
            source=preset.sources[0] if preset.sources else "catalogue",
        ),
        LedgerEntry(entry="loading margin", bytes=loading, formula="2% of weights", source=_ESTIMATOR),
        LedgerEntry(entry="activations", bytes=ACTIVATION_BYTES, formula="1.7 GiB", source=_ESTIMATOR),
        LedgerEntry(entry="graphs", bytes=graphs, formula="5% of weights and margin", source=_ESTIMATOR),
        LedgerEntry(entry="outside PyTorch", bytes=NON_TORCH_BYTES, formula="0.6 GiB", source=_ESTIMATOR),
    )


def kv_entry(architecture: Architecture, dtype: str, split: Split, tokens: int) -> LedgerEntry:
    """The KV cache of one request of `tokens` tokens."""
    per_token = kv_bytes_per_token(architecture, dtype, split)
    return LedgerEntry(
        entry="KV cache",
        bytes=per_token * tokens,
        formula=f"{tokens} tokens x {per_token} bytes "
        f"(2 x {max(1, architecture.kv_heads // split.tensor)} KV heads x {architecture.head_dim} "
        f"x {split.layers(architecture)} layers x {DTYPE_BYTES[dtype]})",
        source="vLLM, full attention",
    )


def total(entries: Sequence[LedgerEntry]) -> int:
    """The sum of a ledger, in bytes."""
    return sum(entry.bytes for entry in entries)
