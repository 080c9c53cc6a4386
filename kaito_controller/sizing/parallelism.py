"""Which ways of cutting a model the engine accepts."""

from __future__ import annotations

from typing import Final

from kaito_controller.catalog.architecture import Architecture

# vLLM pads the vocabulary to a multiple of this and cuts the padded one (layers/vocab_parallel_embedding.py).
VOCABULARY_PADDING: Final = 64


def can_split(architecture: Architecture, ranks: int) -> bool:
    """Whether the engine can cut every layer into `ranks` equal parts.

    Attention heads, the MLP and the padded vocabulary must divide; KV heads must divide or be copied evenly (vLLM
    refuses everything else).
    """
    vocabulary = -(-architecture.vocabulary_size // VOCABULARY_PADDING) * VOCABULARY_PADDING
    return (
        ranks > 0
        and architecture.attention_heads % ranks == 0
        and (architecture.intermediate_size or 0) % ranks == 0
        and vocabulary % ranks == 0
        and (architecture.kv_heads % ranks == 0 or ranks % architecture.kv_heads == 0)
    )


def tensor_parallel(architecture: Architecture, gpus: int) -> int:
    """The largest number of a node's `gpus` over which the layers divide: 1 always works."""
    return max(ranks for ranks in range(1, gpus + 1) if can_split(architecture, ranks))
