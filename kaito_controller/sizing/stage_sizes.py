"""What the GPUs of each stage hold beside the KV cache."""

from __future__ import annotations

from functools import cached_property

from attrs import frozen

from kaito_controller.sizing.engine import Engine
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.memory import LedgerEntry, total
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.overheads import (
    EngineAge,
    activation_entry,
    adapters_entry,
    expert_padding,
    graphs_bytes,
    graphs_entry,
    loading_bytes,
    loading_entry,
    outside_entry,
)
from kaito_controller.sizing.precision import Precision
from kaito_controller.sizing.split import Split
from kaito_controller.sizing.stages import stage_bounds
from kaito_controller.sizing.weights import Ranks, Weights


@frozen(kw_only=True)
class StageSizes:
    """The stages of one split: `held` are the weights, `age` the engine's release where it matters."""

    sizes: ModelSizes
    held: Weights
    engine: Engine
    split: Split
    precision: Precision
    flags: EngineFlags
    age: EngineAge | None

    @cached_property
    def totals(self) -> tuple[int, ...]:
        """Bytes on a GPU of each stage."""
        return tuple(self._total(stage) for stage in range(self.split.pipeline))

    def _total(self, stage: int) -> int:
        """The sum of a stage's ledger, without writing it."""
        begin, end = self._bounds[stage]
        held = self.weights(stage)
        loading = loading_bytes(held, self._padding((begin, end)))
        graphs = graphs_bytes(self.engine, end - begin)
        return held + loading + self._step.bytes + graphs + self._outside.bytes + total(self._adapters(end - begin))

    def weights(self, stage: int) -> int:
        """Bytes of weights on a GPU of one stage."""
        ranks = Ranks(tensor=self.split.tensor, experts=self.split.tensor if self.split.experts else 1)
        return self.held.on_rank(self._bounds[stage], layers=self.sizes.preset.architecture.layers, ranks=ranks)

    def ledger(self, stage: int) -> tuple[LedgerEntry, ...]:
        """What a GPU of one stage holds, entry by entry."""
        begin, end = self._bounds[stage]
        held = self.weights(stage)
        entries = (
            LedgerEntry(entry="weights", bytes=held, formula=self._formula(end - begin), source=self.held.source),
            loading_entry(held, self._padding((begin, end))),
            self._step,
            graphs_entry(self.engine, end - begin),
            self._outside,
            *self._adapters(end - begin),
        )
        return tuple(entry for entry in entries if entry.bytes)

    @cached_property
    def _bounds(self) -> tuple[tuple[int, int], ...]:
        return stage_bounds(self.sizes.preset.architecture.layers, self.split.pipeline)

    @cached_property
    def _step(self) -> LedgerEntry:
        return activation_entry(
            self.sizes.preset.architecture,
            self.engine,
            dtype=self.precision.dtype,
            tensor=self.split.tensor,
            age=self.age,
        )

    @cached_property
    def _outside(self) -> LedgerEntry:
        return outside_entry(self.split.tensor * self.split.pipeline * self.split.data)

    def _padding(self, bounds: tuple[int, int]) -> int:
        packed = self.sizes.packed_expert_bytes(self.held, self.precision.packing, bounds)
        cut = 1 if self.split.experts else self.split.tensor
        return expert_padding(self.sizes.preset.architecture, packed // self.split.tensor, cut) if packed else 0

    def _adapters(self, layers: int) -> tuple[LedgerEntry, ...]:
        if not self.flags.enable_lora:
            return ()
        entry = adapters_entry(
            self.sizes.preset.architecture,
            slots=self.flags.max_loras,
            rank=self.flags.max_lora_rank,
            dtype=self.precision.dtype,
            tensor=self.split.tensor,
            layers=layers,
        )
        return (entry,)

    def _formula(self, layers: int) -> str:
        packing, count = self.precision.packing, self.sizes.preset.architecture.layers
        packed = f", {packing.method}" if packing is not None else ""
        cut = f" / {self.split.tensor} tensor ranks" if self.split.tensor > 1 else ""
        return f"{layers} of {count} layers and the embeddings held there, {self.precision.dtype}{packed}{cut}"
