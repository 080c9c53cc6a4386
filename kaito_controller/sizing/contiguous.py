"""The plan of an engine that answers one request at a time and keeps its whole cache in one piece: transformers.

Nothing is shared, paged or cut there, so the estimate is plain and errs on the large side: the model on one GPU; a
cache of every layer for every token, though a window may need less; as much again of the largest layer, since a cache
that grows is copied; and all tokens of a prompt computed in one step. No published measurements of it are known here,
so each part has its margin. A checkpoint that is packed needs libraries that the runtime does not promise, and is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from kaito_controller.catalog.architecture import ATTENTION, Architecture, Mixer
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import DTYPE_BYTES, Runtime
from kaito_controller.sizing.fit import DEFAULT_CONTEXT, Demand, gib
from kaito_controller.sizing.layer_caches import attention_shape
from kaito_controller.sizing.memory import GIB, LedgerEntry, total
from kaito_controller.sizing.misfit import DoesNotFit, Misfit
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.precision import Precision
from kaito_controller.sizing.usable_memory import budget, utilization

SOURCE: Final = "transformers, cache_utils.py (DynamicCache), generation/utils.py; margins are ours"
# The CUDA runtime with its libraries, and what PyTorch's allocator keeps without using it.
_OUTSIDE_BYTES: Final = 1 * GIB
_WEIGHTS_MARGIN_PERCENT: Final = 5
# A cache that grows token by token leaves holes of the sizes that it had.
_CACHE_MARGIN_PERCENT: Final = 25
# Tensors of the hidden width, and of the feed-forward's, that live at a time while a layer computes.
_HIDDEN_TENSORS: Final = 10
_FEED_FORWARD_TENSORS: Final = 3
# Logits of one token in 32 bits: as given, after the sampler's filters, and sorted.
_LOGIT_BYTES: Final = 3 * 4


@frozen(kw_only=True)
class ContiguousFit:
    """A model on one GPU: `fixed` is held whatever is asked; what a request takes grows with its tokens."""

    fixed: tuple[LedgerEntry, ...]
    token_bytes: int
    activation_bytes: int
    available: int
    share: float

    def entries(self, tokens: int) -> tuple[LedgerEntry, ...]:
        """What one request of so many tokens takes."""
        cache = LedgerEntry(
            entry="KV cache",
            bytes=tokens * self.token_bytes,
            formula=f"{tokens} tokens x {self.token_bytes} bytes of all layers, with {_CACHE_MARGIN_PERCENT}% and a "
            "copy of one layer",
            source=SOURCE,
        )
        work = LedgerEntry(
            entry="activations",
            bytes=tokens * self.activation_bytes + tokens * tokens,
            formula=f"{tokens} tokens x {self.activation_bytes} bytes (one layer, whole prompt) + a mask of {tokens} x "
            f"{tokens} bytes",
            source=SOURCE,
        )
        return cache, work

    def needed(self, tokens: int) -> int:
        """Bytes in all for a request of so many tokens."""
        return total(self.fixed) + total(self.entries(tokens))

    def longest(self, most: int) -> int:
        """The most tokens, up to `most`, that fit; 0 where none do."""
        least, beyond = 0, most + 1
        while beyond - least > 1:
            middle = (least + beyond) // 2
            least, beyond = (middle, beyond) if self.needed(middle) <= self.available else (least, middle)
        return least


def contiguous_fit(sizes: ModelSizes, sku: SKU, precision: Precision, demand: Demand) -> ContiguousFit:
    """Place a model.

    Raises:
        MissingNumber: the architecture lacks a number.
    """
    architecture, size = sizes.preset.architecture, DTYPE_BYTES[precision.dtype]
    weights = sizes.weights(precision.dtype, precision.packing)
    margin = -(-weights.total * _WEIGHTS_MARGIN_PERCENT // 100)
    logits = architecture.vocabulary_size * _LOGIT_BYTES
    fixed = (
        LedgerEntry(entry="weights", bytes=weights.total, formula="all, on one GPU", source=weights.source),
        LedgerEntry(
            entry="loading margin", bytes=margin, formula=f"{_WEIGHTS_MARGIN_PERCENT}% of weights", source=SOURCE
        ),
        LedgerEntry(
            entry="logits",
            bytes=logits,
            formula=f"{architecture.vocabulary_size} x {_LOGIT_BYTES} bytes",
            source=SOURCE,
        ),
        LedgerEntry(entry="outside PyTorch", bytes=_OUTSIDE_BYTES, formula=f"{_OUTSIDE_BYTES} bytes", source=SOURCE),
    )
    layer = _layer_numbers(architecture) * size
    held = layer * (architecture.layers + 1)
    share = utilization(sku, demand.flags)
    return ContiguousFit(
        fixed=fixed,
        token_bytes=-(-held * (100 + _CACHE_MARGIN_PERCENT) // 100),
        activation_bytes=_widest_numbers(architecture) * size,
        available=budget(sku, share),
        share=share,
    )


def refused(sizes: ModelSizes, runtime: Runtime, demand: Demand) -> DoesNotFit | None:
    """Why the runtime cannot serve a model as asked, whatever the memory; None where it can."""
    packing, flags = sizes.preset.quantisation, demand.flags
    if sizes.preset.architecture.encoder is not None:
        message = f"{sizes.preset.name} has an encoder, and runtime {runtime.name} serves models without: use vLLM"
        return DoesNotFit(reason=Misfit.ENGINE, message=message)
    if packing is not None:
        message = (
            f"the weights of {sizes.preset.name} are packed ({packing.method}), and runtime {runtime.name} serves "
            "checkpoints of plain numbers: choose one that is not packed, or serve it with vLLM"
        )
        return DoesNotFit(reason=Misfit.WEIGHTS, message=message)
    asked: Mapping[str, bool] = {
        "adapters": flags.enable_lora is True,
        "tensor-parallel-size": (flags.tensor_parallel_size or 1) > 1,
        "pipeline-parallel-size": (flags.pipeline_parallel_size or 1) > 1,
        "data-parallel-size": (flags.data_parallel_size or 1) > 1,
        "quantization": flags.quantization is not None,
        "kv-cache-dtype": flags.kv_cache_dtype is not None,
    }
    named = [name for name, is_asked in asked.items() if is_asked]
    if not named:
        return None
    message = (
        f"{', '.join(named)}: runtime {runtime.name} has no such thing, as it keeps one model on one GPU: leave it "
        "out, or serve the model with vLLM"
    )
    return DoesNotFit(reason=Misfit.ENGINE, message=message)


def too_large(sizes: ModelSizes, sku: SKU, runtime: Runtime, fit: ContiguousFit, tokens: int) -> DoesNotFit:
    """What is lacking where a model was tried."""
    preset = sizes.preset
    return DoesNotFit(
        reason=Misfit.GPU_MEMORY,
        message=(
            f"{preset.name} needs {gib(fit.needed(tokens))} on one GPU of {sku.name} for a context of {tokens} tokens "
            f"with runtime {runtime.name}, which keeps a model on one GPU, and {gib(fit.available)} are available: "
            "choose an instance type with larger GPUs, a shorter max-model-len, or serve it with vLLM"
        ),
        needed_bytes=fit.needed(tokens),
        available_bytes=fit.available,
    )


def wanted_tokens(sizes: ModelSizes, demand: Demand) -> int:
    """The context that must be held at least."""
    return demand.flags.length or min(DEFAULT_CONTEXT, sizes.preset.token_limit)


def _layer_numbers(architecture: Architecture) -> int:
    """Numbers that the cache of the largest layer holds for each token, with every layer counted as the largest."""
    kinds = architecture.mixer_kinds
    shapes = [attention_shape(architecture, kind) for kind in ATTENTION if kind in kinds]
    if not shapes:
        shapes = [attention_shape(architecture, Mixer.FULL)]
    found = [(shape.kv_heads or 0) * ((shape.head_dim or 0) + (shape.value_head_dim or 0)) for shape in shapes]
    if Mixer.LATENT in kinds:
        # Unpacked for every head, where vLLM keeps the compressed vector; values are no wider than keys.
        found.append(architecture.attention_heads * 2 * architecture.head_dim)
    return max(found)


def _widest_numbers(architecture: Architecture) -> int:
    widths = [architecture.intermediate_size or 0]
    if architecture.experts is not None:
        experts = architecture.experts
        widths.append(experts.per_token * experts.intermediate_size)
    attention = 3 * architecture.attention_heads * architecture.head_dim
    return _HIDDEN_TENSORS * architecture.hidden_size + _FEED_FORWARD_TENSORS * max(widths) + attention
