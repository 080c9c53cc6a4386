"""What our ledger says of one engine, by the plan's own functions."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import EngineDevice, Preset, Runtime
from kaito_controller.sizing.fit import Demand, Fit, fit_of
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.memory import total
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.precision import served_precision
from kaito_controller.sizing.refusals import too_long
from kaito_controller.sizing.split import Split
from kaito_controller.sizing.usable_memory import seen_memory
from measure_fit.comparison import Figures
from measure_fit.problem import MeasureProblem

_WEIGHTS = ("weights", "loading margin")
_GRAPHS = "CUDA graphs"


@frozen(kw_only=True)
class Prediction:
    """One model on ranks of one kind of GPU, or, where `on_gpu` is false, on the CPU, of which no memory is planned."""

    fit: Fit
    sku: SKU
    on_gpu: bool

    @property
    def figures(self) -> Figures:
        """What the engine is expected to say."""
        sizes = {entry.entry: entry.bytes for entry in self.fit.stages.ledger(0)}
        weights = sum(sizes.get(name, 0) for name in _WEIGHTS)
        if not self.on_gpu:
            return Figures(weights=weights)
        space = self._in_space(self.fit.left[0], None)
        graphs = sizes.get(_GRAPHS, 0)
        return Figures(
            seen_memory=seen_memory(self.sku),
            weights=weights,
            graphs=graphs,
            other=total(self.fit.stages.ledger(0)) - weights - graphs,
            kv_space=self.fit.left[0],
            kv_blocks=space.kv_blocks,
            kv_tokens=space.kv_tokens,
            max_model_len=space.max_model_len,
        )

    def given(self, measured: Figures) -> Figures | None:
        """Blocks, tokens and length in the space that the engine itself found; None where it did not say it."""
        if measured.kv_space is None:
            return None
        return self._in_space(measured.kv_space, measured.max_model_len)

    def _in_space(self, space: int, served: int | None) -> Figures:
        """With the tokens that are logged where requests are at most `served` tokens long."""
        fit, left = self.fit, (space,)
        longest = fit.tokens if fit.asked else fit.cache.longest(left, fit.limit)
        length = served or longest
        return Figures(
            kv_blocks=fit.cache.blocks(left),
            kv_tokens=fit.cache.tokens(left, length) if length else 0,
            max_model_len=longest,
        )

    def summary(self) -> dict[str, Any]:
        """What a data line says beside the figures."""
        return {
            "fits": self.fit.fits if self.on_gpu else None,
            "utilization": self.fit.share,
            "dtype": self.fit.precision.dtype,
            "batchedTokens": self.fit.engine.batched_tokens,
            "sequences": self.fit.engine.sequences,
            "ledger": {entry.entry: entry.bytes for entry in self.fit.stages.ledger(0)},
        }


def predict(preset: Preset, sku: SKU, runtime: Runtime, flags: EngineFlags) -> Prediction:
    """The prediction for one model on ranks of one node.

    Raises:
        MeasureProblem: the context is longer than the model's.
        UnsupportedPrecision, MissingNumber, UnsupportedCache: the ledger cannot say it.
    """
    refusal = too_long(preset, flags)
    if refusal is not None:
        raise MeasureProblem(refusal.message)
    fit = fit_of(
        ModelSizes(preset=preset),
        sku,
        runtime,
        Split(tensor=flags.tensor_parallel_size or 1, experts=flags.enable_expert_parallel),
        precision=served_precision(preset, sku, runtime, flags),
        demand=Demand(flags=flags),
    )
    return Prediction(fit=fit, sku=sku, on_gpu=runtime.accelerator.device is EngineDevice.CUDA)
