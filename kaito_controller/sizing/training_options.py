"""What decides the memory of a training run, as far as a user's configuration says so."""

from __future__ import annotations

from typing import Final

from attrs import frozen

# trl 1.16, SFTConfig: `max_length` 1024 tokens; longer examples are cut.
DEFAULT_LENGTH: Final = 1024
# The templates of KAITO (lora-params.yaml, qlora-params.yaml).
DEFAULT_BATCH: Final = 1
DEFAULT_RANK: Final = 8
# transformers, TrainingArguments: what a configuration of one's own has that names none.
LIBRARY_BATCH: Final = 8
FOUR_BITS: Final = 4
EIGHT_BITS: Final = 8


@frozen(kw_only=True)
class TrainingOptions:
    """How a LoRA adapter is trained.

    `weight_bits` 4 or 8 packs the model's own matrices (QLoRA), None leaves them in the model's precision. `batch` is
    the number of examples that a GPU works on at a time, `length` the longest of them in tokens. `checkpointing` keeps
    only the inputs of each layer and computes the rest again. `double_quantisation` packs the scales of 4-bit weights.
    """

    weight_bits: int | None = None
    double_quantisation: bool = True
    rank: int = DEFAULT_RANK
    batch: int = DEFAULT_BATCH
    length: int = DEFAULT_LENGTH
    checkpointing: bool = True
