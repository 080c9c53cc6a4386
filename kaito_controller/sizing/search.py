"""Looking for the least number of nodes, and the split over their GPUs, that holds a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import Runtime
from kaito_controller.sizing.fit import Demand, Fit, fit_of, least_stages, short_of
from kaito_controller.sizing.misfit import DoesNotFit, Misfit
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.parallelism import obstacles
from kaito_controller.sizing.precision import Precision
from kaito_controller.sizing.refusals import too_large
from kaito_controller.sizing.split import Split
from kaito_controller.sizing.usable_memory import seen_memory

# A model that takes less than this share of a GPU is copied to each of a node's GPUs instead of cut, as upstream does.
_COPIED_BELOW: Final = 0.5


@frozen(kw_only=True)
class Search:
    """One model on one kind of node."""

    sizes: ModelSizes
    sku: SKU
    runtime: Runtime
    precision: Precision
    demand: Demand

    def best(self, node_count: int | None, most_nodes: int | None) -> Fit | DoesNotFit:
        """The fit on the fewest nodes, on exactly `node_count` where that is above 1; or why there is none.

        Raises:
            MissingNumber: the architecture lacks a number.
            UnsupportedCache: the engine cannot lay out the model's cache.
        """
        tensors = self._tensors()
        if isinstance(tensors, DoesNotFit):
            return tensors
        asked = node_count if node_count is not None and node_count > 1 else self.demand.flags.pipeline_parallel_size
        counts = self._counts(most_nodes)
        first = least_stages(self.sizes, self.sku, tensors[0], precision=self.precision, demand=self.demand)
        enough = [count for count in counts if count >= first] or counts[-1:]
        found = self._first((asked,) if asked is not None else enough, tensors)
        if found is not None:
            return found
        more = self._first([count for count in enough if count > asked], tensors) if asked is not None else None
        tried = list(self._tried(asked or 1, tensors))
        if not tried:
            return self._no_room()
        return too_large(self.sizes.preset, self.sku, short_of(tried), more.split.pipeline if more else None)

    def _first(self, counts: Sequence[int], tensors: tuple[int, ...]) -> Fit | None:
        for nodes in counts:
            fit = self._taken(nodes, tensors)
            if fit is not None:
                return fit
            if nodes == counts[0] and self._hopeless(counts[-1], tensors):
                break
        return None

    def _hopeless(self, nodes: int, tensors: tuple[int, ...]) -> bool:
        """Whether weights and the engine leave nothing even with the most stages: fewer leave less."""
        return all(min(fit.left) <= 0 for fit in self._tried(nodes, tensors))

    def _taken(self, nodes: int, tensors: tuple[int, ...]) -> Fit | None:
        """A copy on each GPU where the model is small and each copy holds its longest context; else the largest cut."""
        fits = self._tried(nodes, tensors)
        if nodes == 1 and tensors[-1] == 1 and self._may_copy() and self._small():
            copies = list(fits)
            if copies and copies[-1].full:
                return copies[-1]
            return next((fit for fit in copies if fit.fits), None)
        return next((fit for fit in fits if fit.fits), None)

    def _tried(self, nodes: int, tensors: tuple[int, ...]) -> Iterator[Fit]:
        for split in self._splits(nodes, tensors):
            yield fit_of(self.sizes, self.sku, self.runtime, split, precision=self.precision, demand=self.demand)

    def _counts(self, most_nodes: int | None) -> tuple[int, ...]:
        """The numbers of nodes to try, the least first."""
        if not self.runtime.multi_node or self.sku.partition is not None:
            return (1,)
        counts = self.sizes.stage_counts
        return tuple(count for count in counts if count <= (most_nodes or counts[-1]))

    def _tensors(self) -> tuple[int, ...] | DoesNotFit:
        """The numbers of tensor ranks to try: the one asked for, or all that the engine accepts."""
        gpus = 1 if self.sku.partition is not None else self.sku.gpu_count
        experts, packing = self.demand.flags.enable_expert_parallel, self.precision.packing
        possible = self.sizes.tensor_sizes(gpus, packing, expert_parallel=experts)
        asked = self.demand.flags.tensor_parallel_size
        if asked is None:
            return possible
        if asked in possible:
            return (asked,)
        reasons = obstacles(self.sizes.preset.architecture, asked, packing=packing, expert_parallel=experts)
        why = next(iter(reasons), "the engine refuses it")
        if asked > gpus:
            why = f"{self.sku.name} gives a pod {gpus} GPU{'s' if gpus > 1 else ''}"
        choices = ", ".join(str(one) for one in sorted(possible))
        message = f"tensor-parallel-size is {asked}, and {why}: give one of {choices}, or leave it out"
        return DoesNotFit(reason=Misfit.PARALLELISM, message=message)

    def _splits(self, nodes: int, tensors: tuple[int, ...]) -> list[Split]:
        """Ways of spreading the model over the GPUs of so many nodes, the largest cut first, copied to what remains."""
        gpus, flags = self.sku.gpu_count, self.demand.flags
        copies = nodes == 1 and self._may_copy()
        options = [
            Split(
                tensor=tensor,
                pipeline=nodes,
                data=flags.data_parallel_size or (gpus // tensor if copies else 1),
                experts=flags.enable_expert_parallel,
            )
            for tensor in tensors
        ]
        return [split for split in options if split.gpus_per_node <= gpus]

    def _may_copy(self) -> bool:
        """Whether several copies may run in one pod: with experts the copies would share them, which is not planned."""
        dense = self.sizes.preset.architecture.experts is None
        return self.runtime.data_parallel and self.sku.partition is None and dense

    def _small(self) -> bool:
        weights = self.sizes.weights(self.precision.dtype, self.precision.packing)
        return weights.total < _COPIED_BELOW * seen_memory(self.sku)

    def _no_room(self) -> DoesNotFit:
        message = (
            f"data-parallel-size is {self.demand.flags.data_parallel_size}, and {self.sku.name} has "
            f"{self.sku.gpu_count} GPUs for all copies on one node: give fewer, or leave it out"
        )
        return DoesNotFit(reason=Misfit.PARALLELISM, message=message)
