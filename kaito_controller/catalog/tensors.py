"""One tensor of a checkpoint, as the header of its safetensors file describes it."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Tensor:
    """A tensor's name, its precision as safetensors spells it (such as "BF16"), its shape and its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def numbers(self) -> int:
        """How many numbers it holds, as packed."""
        product = 1
        for side in self.shape:
            product *= side
        return product
