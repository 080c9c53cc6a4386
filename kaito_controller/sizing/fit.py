"""One way of placing a model on one kind of node: what each GPU must hold, and the KV cache that is left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import ceil

from attrs import field, frozen

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import Runtime
from kaito_controller.sizing.engine import Engine, engine_on
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.kv_cache import KVCache
from kaito_controller.sizing.memory import GIB, LedgerEntry
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.overheads import EngineAge
from kaito_controller.sizing.precision import Precision
from kaito_controller.sizing.split import Split
from kaito_controller.sizing.stage_sizes import StageSizes
from kaito_controller.sizing.usable_memory import budget, utilization
from kaito_controller.sizing.weights import Ranks

# The context that a plan holds at least where nobody asks for one (upstream's nodesestimator).
DEFAULT_CONTEXT = 2048


@frozen(kw_only=True)
class Demand:
    """What is wanted of a model's server: options of the engine, and requests of full length at a time."""

    flags: EngineFlags = field(factory=EngineFlags)
    concurrency: int = 1


@frozen(kw_only=True)
class Fit:
    """One split of a model on one kind of GPU.

    `stages` are the sizes of each stage's GPU without the KV cache, `left` the bytes that remain of `available` for it,
    which may be below zero. `tokens` is the context that must be held, `asked` whether somebody asked for it, and
    `limit` the longest there can be.
    """

    split: Split
    precision: Precision
    engine: Engine
    cache: KVCache
    stages: StageSizes
    available: int
    share: float
    tokens: int
    asked: bool
    limit: int
    concurrency: int

    @cached_property
    def left(self) -> tuple[int, ...]:
        """Bytes for the KV cache on each stage's GPU."""
        return tuple(self.available - held for held in self.stages.totals)

    @cached_property
    def wanted(self) -> tuple[int, ...]:
        """Bytes of KV cache that each stage's GPU needs for what is asked."""
        if self.cache.empty:
            return (0,) * self.split.pipeline
        requests = ceil(self.concurrency / self.split.data)
        blocks = requests * self.cache.request_blocks(self.tokens) + 1
        return tuple(blocks * size for size in self.cache.block_bytes)

    @property
    def fits(self) -> bool:
        """Whether every GPU holds what is asked of it."""
        return all(left >= max(wanted, 1) for left, wanted in zip(self.left, self.wanted, strict=True))

    @property
    def full(self) -> bool:
        """Whether requests may be as long as asked, or as the model allows."""
        return self.fits and (self.asked or self.length == self.limit)

    @property
    def tightest(self) -> int:
        """The stage with the least room beside what is asked."""
        rooms = [left - wanted for left, wanted in zip(self.left, self.wanted, strict=True)]
        return rooms.index(min(rooms))

    @property
    def needed(self) -> int:
        """Bytes that the fullest GPU needs in all."""
        return self.stages.totals[self.tightest] + self.wanted[self.tightest]

    @property
    def weights(self) -> int:
        """Bytes of weights on the fullest GPU."""
        return self.stages.weights(self.tightest)

    @property
    def length(self) -> int:
        """The context in tokens: as asked, or the longest that one request can have."""
        return self.tokens if self.asked else max(self.tokens, self.cache.longest(self.left, self.limit))

    @property
    def ledger(self) -> tuple[LedgerEntry, ...]:
        """What the fullest stage's GPU holds, the KV cache with all its blocks among it."""
        stage = self.tightest
        size, blocks = self.cache.block_bytes[stage], self.cache.blocks(self.left)
        cache = LedgerEntry(
            entry="KV cache",
            bytes=0 if self.cache.empty else blocks * size,
            formula=f"{blocks} blocks x {size} bytes ({len(self.cache.groups)} group(s) of layers)",
            source="vLLM, v1/core/kv_cache_utils.py",
        )
        return (*self.stages.ledger(stage), cache)


def limit_of(sizes: ModelSizes, flags: EngineFlags) -> int:
    """The longest context that the engine would take: the model's, or where it starts from by itself."""
    preset = sizes.preset
    if flags.length is not None:
        return preset.token_limit
    return preset.unasked_token_limit or preset.token_limit


def fit_of(sizes: ModelSizes, sku: SKU, runtime: Runtime, split: Split, *, precision: Precision, demand: Demand) -> Fit:
    """Place a model.

    Raises:
        MissingNumber: the architecture lacks a number.
        UnsupportedCache: the engine cannot lay out the model's cache.
    """
    flags, architecture = demand.flags, sizes.preset.architecture
    limit = limit_of(sizes, flags)
    engine = engine_on(architecture, sku, runtime, precision=precision, flags=flags, split=split, limit=limit)
    weights = sizes.weights(precision.dtype, precision.packing)
    share = utilization(sku, flags)
    stages = StageSizes(
        sizes=sizes,
        held=weights,
        engine=engine,
        split=split,
        precision=precision,
        flags=flags,
        age=EngineAge.parse(runtime.engine_version),
    )
    return Fit(
        split=split,
        precision=precision,
        engine=engine,
        cache=sizes.cache(split.tensor, split.pipeline, engine.rules),
        stages=stages,
        available=budget(sku, share),
        share=share,
        tokens=flags.length or min(DEFAULT_CONTEXT, limit),
        asked=flags.length is not None,
        limit=limit,
        concurrency=demand.concurrency,
    )


def least_stages(sizes: ModelSizes, sku: SKU, tensor: int, *, precision: Precision, demand: Demand) -> int:
    """A number of stages below which the weights alone are too large: where looking for a fit may begin."""
    weights = sizes.weights(precision.dtype, precision.packing)
    layers = sizes.preset.architecture.layers
    ranks = Ranks(tensor=tensor, experts=tensor if demand.flags.enable_expert_parallel else 1)
    # Neither the first nor the last stage of a model with a layer more, so that only layers are counted.
    held = weights.on_rank((1, layers), layers=layers + 1, ranks=ranks)
    return max(1, ceil(held / max(1, budget(sku, utilization(sku, demand.flags)))))


def gib(count: int) -> str:
    """Bytes as a message shows them."""
    return f"{count / GIB:.2f}Gi"


def short_of(fits: Sequence[Fit]) -> Fit:
    """The fit that lacks the least."""
    return min(fits, key=lambda fit: fit.needed - fit.available)
