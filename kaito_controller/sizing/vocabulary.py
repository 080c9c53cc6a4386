"""How the engine lays out a vocabulary."""

from __future__ import annotations

from typing import Final

# vLLM pads the vocabulary to a multiple of this and cuts the padded one (layers/vocab_parallel_embedding.py).
PADDING: Final = 64


def padded(tokens: int) -> int:
    """Rows of the embeddings of a vocabulary of so many tokens."""
    return -(-tokens // PADDING) * PADDING
