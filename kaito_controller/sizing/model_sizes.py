"""The sizes of one model, each worked out once however many kinds of hardware are looked at."""

from __future__ import annotations

from functools import cached_property

from attrs import field, frozen

from kaito_controller.catalog.model import Preset
from kaito_controller.catalog.quantisation import Part, Quantisation
from kaito_controller.sizing.cache_rules import CacheRules
from kaito_controller.sizing.kv_cache import KVCache, kv_cache
from kaito_controller.sizing.parallelism import stage_counts, tensor_sizes
from kaito_controller.sizing.pieces import Cut
from kaito_controller.sizing.weights import Weights, model_weights


@frozen(kw_only=True)
class ModelSizes:
    """A model with what has been calculated of it so far; equal questions have equal answers, whatever came before."""

    preset: Preset
    _weights: dict[tuple[str, int], Weights] = field(factory=dict, init=False, repr=False, eq=False)
    _caches: dict[tuple[int, int, CacheRules], KVCache] = field(factory=dict, init=False, repr=False, eq=False)
    _tensors: dict[tuple[int, int, bool], tuple[int, ...]] = field(factory=dict, init=False, repr=False, eq=False)

    def weights(self, dtype: str, packing: Quantisation | None) -> Weights:
        """The weights in a precision.

        Raises:
            MissingNumber: the architecture lacks a number.
        """
        key = (dtype, _key(packing))
        if key not in self._weights:
            own = None if packing is self.preset.quantisation else packing
            self._weights[key] = model_weights(self.preset, dtype, packing=own)
        return self._weights[key]

    def cache(self, tensor: int, stages: int, rules: CacheRules) -> KVCache:
        """The KV cache of a way of cutting.

        Raises:
            MissingNumber: the architecture lacks a number.
            UnsupportedCache: the engine cannot lay it out.
        """
        key = (tensor, stages, rules)
        if key not in self._caches:
            self._caches[key] = kv_cache(self.preset.architecture, tensor=tensor, stages=stages, rules=rules)
        return self._caches[key]

    def tensor_sizes(self, gpus: int, packing: Quantisation | None, *, expert_parallel: bool) -> tuple[int, ...]:
        """The numbers of ranks that the engine accepts, the largest first."""
        key = (gpus, _key(packing), expert_parallel)
        if key not in self._tensors:
            architecture = self.preset.architecture
            self._tensors[key] = tensor_sizes(architecture, gpus, packing=packing, expert_parallel=expert_parallel)
        return self._tensors[key]

    @cached_property
    def stage_counts(self) -> tuple[int, ...]:
        """The numbers of stages of a pipeline that the engine can run, the least first."""
        return stage_counts(self.preset.architecture)

    def packed_expert_bytes(self, weights: Weights, packing: Quantisation | None, bounds: tuple[int, int]) -> int:
        """Bytes of a stage's experts where they are packed in mxfp4, whose kernels pad them; else 0."""
        if packing is None or packing.method != "mxfp4" or Part.EXPERTS in packing.unpacked:
            return 0
        begin, end = bounds
        return sum(sums[end] - sums[begin] for (cut, _), sums in weights.layers.items() if cut is Cut.EXPERTS)


def _key(packing: Quantisation | None) -> int:
    return 0 if packing is None else hash((packing.method, packing.bits, packing.group_size))
