"""Which ways of cutting a model the engine accepts.

After vLLM 0.32: config/model.py (verify_with_parallel_config), layers/linear.py, vocab_parallel_embedding.py,
mamba/mamba_mixer2.py, quantization/utils/fp8_utils.py and the models that refuse more.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from math import gcd
from typing import Final

from kaito_controller.catalog.architecture import ATTENTION, Architecture, FeedForward, Mixer
from kaito_controller.catalog.quantisation import Part, Quantisation
from kaito_controller.sizing import vocabulary
from kaito_controller.sizing.layer_caches import attention_shape, state_shape
from kaito_controller.sizing.stages import stage_bounds

_ATTENDING: Final = {*ATTENTION, Mixer.LATENT}
# Whose code divides KV heads without keeping at least one on each rank (model_executor/models/gpt_oss.py).
_NO_COPIES_OF_KV_HEADS: Final = {"GptOssForCausalLM"}


def tensor_sizes(
    architecture: Architecture, gpus: int, *, packing: Quantisation | None = None, expert_parallel: bool = False
) -> tuple[int, ...]:
    """The numbers of ranks up to `gpus` that the engine accepts, the largest first; 1 always is."""
    return tuple(
        ranks
        for ranks in range(gpus, 0, -1)
        if ranks == 1 or not any(obstacles(architecture, ranks, packing=packing, expert_parallel=expert_parallel))
    )


def obstacles(
    architecture: Architecture, ranks: int, *, packing: Quantisation | None = None, expert_parallel: bool = False
) -> Iterator[str]:
    """What keeps the engine from cutting every layer into `ranks` parts, each as a few words."""
    yield from _attention(architecture, ranks, packing)
    yield from _states(architecture, ranks)
    yield from _widths(architecture, ranks, packing, expert_parallel=expert_parallel)
    padded = vocabulary.padded(architecture.vocabulary_size)
    if padded % ranks:
        yield f"the vocabulary of {padded} tokens does not divide by {ranks}"
    if architecture.encoder is not None and architecture.encoder.attention_heads % ranks:
        yield f"{architecture.encoder.attention_heads} heads of the encoder do not divide by {ranks}"


def stage_counts(architecture: Architecture) -> tuple[int, ...]:
    """The numbers of stages of a pipeline that the engine can run.

    One where a layer needs another's cache or an encoder. Else each stage needs a layer, and one that attends if any
    does: the engine divides by the bytes of a stage's blocks, and aligns the pages of states to those of attention.
    """
    if architecture.kv_shared_layers or architecture.encoder is not None:
        return (1,)
    counts = range(1, architecture.layers + 1)
    attend = [0, *accumulate(bool(_ATTENDING & set(parts)) for parts in architecture.layer_mixers)]
    if not attend[-1]:
        return tuple(counts)
    bounds = {stages: stage_bounds(architecture.layers, stages) for stages in counts}
    return tuple(stages for stages in counts if all(attend[last] > attend[first] for first, last in bounds[stages]))


def _attention(architecture: Architecture, ranks: int, packing: Quantisation | None) -> Iterator[str]:
    kinds = architecture.mixer_kinds
    if kinds & _ATTENDING and architecture.attention_heads % ranks:
        yield f"{architecture.attention_heads} attention heads do not divide by {ranks}"
    for kind in sorted(kinds.intersection(ATTENTION)):
        shape = attention_shape(architecture, kind)
        heads, kv_heads, width = shape.heads or 1, shape.kv_heads or 1, shape.head_dim or 1
        copies = architecture.name not in _NO_COPIES_OF_KV_HEADS
        if kv_heads % ranks and (ranks % kv_heads or not copies):
            yield f"{kv_heads} KV heads neither divide by {ranks} nor can be copied evenly"
        elif packing is not None and Part.ATTENTION not in packing.unpacked:
            step = _step(packing)
            if heads * width // ranks % step or max(1, kv_heads // ranks) * width % step:
                yield f"packed attention comes in blocks of {step}, which {ranks} ranks would cut"


def _states(architecture: Architecture, ranks: int) -> Iterator[str]:
    for kind in sorted(architecture.mixer_kinds.difference(ATTENTION)):
        if kind in {Mixer.LATENT, Mixer.NONE, Mixer.COMPRESSED}:
            continue
        shape = state_shape(architecture, kind)
        for name in ("heads", "key_heads", "intermediate_size"):
            number = getattr(shape, name)
            if number is not None and number % ranks:
                yield f"{number} {name.replace('_', ' ')} of {kind} layers do not divide by {ranks}"
        if shape.groups is not None and shape.groups != 1 and shape.groups % ranks:
            yield f"{shape.groups} groups of {kind} layers do not divide by {ranks}"


def _widths(
    architecture: Architecture, ranks: int, packing: Quantisation | None, *, expert_parallel: bool
) -> Iterator[str]:
    feeds = architecture.feed_forward_kinds
    if FeedForward.DENSE in feeds and architecture.intermediate_size is not None:
        yield from _width("intermediate size", architecture.intermediate_size, ranks, packing, Part.DENSE)
    experts = architecture.experts
    if FeedForward.MOE not in feeds or experts is None:
        return
    if not expert_parallel:
        yield from _width("experts' intermediate size", experts.intermediate_size, ranks, packing, Part.EXPERTS)
    if experts.shared_intermediate_size:
        width = experts.shared_intermediate_size
        yield from _width("shared experts' intermediate size", width, ranks, packing, Part.SHARED_EXPERTS)


def _width(name: str, width: int, ranks: int, packing: Quantisation | None, part: Part) -> Iterator[str]:
    if width % ranks:
        yield f"the {name} {width} does not divide by {ranks}"
    elif packing is not None and part not in packing.unpacked and width // ranks % _step(packing):
        yield f"the {name} {width} is packed in blocks of {_step(packing)}, which {ranks} ranks would cut"


def _step(packing: Quantisation) -> int:
    """Rows or columns that must stay together on a rank.

    Kernels for mxfp4 pad what does not divide.
    """
    if packing.method == "mxfp4":
        return 1
    if packing.block is not None:
        return packing.block[0] * packing.block[1] // gcd(*packing.block)
    return packing.group_size or 1
