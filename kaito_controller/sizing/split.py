"""How the copies of a model are spread over GPUs."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Split:
    """`data` copies of a model, each cut into `pipeline` stages of layers, each cut `tensor` ways across its matrices.

    `experts` says that whole experts go to ranks, instead of a part of each.
    """

    tensor: int
    pipeline: int = 1
    data: int = 1
    experts: bool = False

    @property
    def gpus_per_node(self) -> int:
        """GPUs that one node gives: a stage is on one node, and so are all copies where there are several."""
        return self.tensor * self.data
