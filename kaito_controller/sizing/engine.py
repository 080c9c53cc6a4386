"""What the engine makes of its options on a kind of GPU: the sizes of its batches, and its cache's rules.

After vLLM 0.32, engine/arg_utils.py (get_batch_defaults), config/vllm.py (max_concurrent_batches, cudagraph sizes) and
the block sizes of the attention backends that platforms/cuda.py and platforms/cpu.py prefer.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from kaito_controller.catalog.architecture import Architecture, Mixer
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import DTYPE_BYTES, EngineDevice, Runtime
from kaito_controller.sizing.cache_rules import CacheRules
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.memory import GIB
from kaito_controller.sizing.precision import Precision
from kaito_controller.sizing.split import Split

# Batches by the memory of a GPU: (least bytes, tokens of a step, requests of a step), the largest first.
_BATCHES: Final = ((160 * GIB, 16384, 1024), (70 * GIB, 8192, 1024), (0, 2048, 256))
_CPU_BATCH: Final = (2048, 128)
# An A100 keeps to the small batch whatever its memory.
_SMALL_BATCH_GPU: Final = "a100"
_BLOCK: Final = 16
_CPU_BLOCK: Final = 128
_CPU_KERNEL: Final = 32
_SPARSE_BLOCK: Final = 64
_BLACKWELL: Final = 10
_BLACKWELL_LATENT_BLOCK: Final = 32
# One packed entry of sparse latent attention in fp8 (vLLM, layers/attention/mla_attention.py).
_PACKED_LATENT: Final = 656
_LARGEST_GRAPH: Final = 512
_DENSE_GRAPHS: Final = 256


@frozen(kw_only=True)
class Engine:
    """The sizes that the engine works with: tokens and requests of one step, CUDA graphs it captures, cache rules."""

    batched_tokens: int
    sequences: int
    graphs: int
    rules: CacheRules


def engine_on(
    architecture: Architecture,
    sku: SKU,
    runtime: Runtime,
    *,
    precision: Precision,
    flags: EngineFlags,
    split: Split,
    limit: int,
) -> Engine:
    """The engine of a model of `limit` tokens, split over GPUs of a kind."""
    cuda = runtime.accelerator.device is EngineDevice.CUDA
    tokens, sequences = _batch(sku, flags, limit, cuda=cuda, ranks=split.tensor * split.pipeline)
    if not cuda and Mixer.LATENT in architecture.mixer_kinds:
        # The kernel for latent attention on a CPU without AMX reads a prompt in one step.
        tokens = max(tokens, limit)
    # Two batches at a time on a GPU (asynchronous scheduling), one for each stage beside the first.
    batches = split.pipeline + 1 if cuda else split.pipeline
    block, kernel = _blocks(architecture, sku, flags, cuda=cuda)
    rules = CacheRules(
        block_size=block,
        kernel_block=kernel,
        number_bytes=precision.cache_bytes,
        model_bytes=DTYPE_BYTES[precision.dtype],
        in_flight_tokens=batches * tokens,
        prefix_caching=flags.enable_prefix_caching is not False,
        recurrent_bytes=DTYPE_BYTES.get(flags.mamba_ssm_cache_dtype or ""),
        packed_latent_bytes=_PACKED_LATENT if precision.cache_bytes == 1 else None,
        encoder_tokens=tokens if architecture.encoder is not None else 0,
    )
    graphs = 0 if flags.enforce_eager or not cuda else _graphs(tokens, sequences)
    return Engine(batched_tokens=tokens, sequences=sequences, graphs=graphs, rules=rules)


def _batch(sku: SKU, flags: EngineFlags, limit: int, *, cuda: bool, ranks: int) -> tuple[int, int]:
    if cuda:
        memory = sku.gpu.driver_memory_bytes or sku.gpu_memory_bytes
        small = _SMALL_BATCH_GPU in sku.gpu_model.lower()
        least = next(batch for batch in _BATCHES if memory >= batch[0] and not (small and batch[0]))
        tokens, sequences = least[1], least[2]
    else:
        tokens, sequences = (size * ranks for size in _CPU_BATCH)
    if flags.max_num_seqs is not None:
        sequences = flags.max_num_seqs
    tokens = flags.max_num_batched_tokens or min(sequences * limit, tokens)
    return tokens, sequences if flags.max_num_seqs is not None else min(sequences, tokens)


def _blocks(architecture: Architecture, sku: SKU, flags: EngineFlags, *, cuda: bool) -> tuple[int, int]:
    latent = Mixer.LATENT in architecture.mixer_kinds
    if not cuda:
        # That kernel takes blocks of 16 only.
        return (_BLOCK, _BLOCK) if latent else (flags.block_size or _CPU_BLOCK, _CPU_KERNEL)
    least = _BLOCK
    if latent and architecture.latent is not None and architecture.latent.indexer is not None:
        least = _SPARSE_BLOCK
    elif latent and sku.compute_capability is not None and sku.compute_capability.major == _BLACKWELL:
        least = _BLACKWELL_LATENT_BLOCK
    return max(least, flags.block_size or least), least


def _graphs(tokens: int, sequences: int) -> int:
    """Sizes of batches that are captured: 1, 2, 4, every 8th below 256, every 16th from there up to 512."""
    largest = min(2 * sequences, _LARGEST_GRAPH, tokens)
    few = sum(1 for size in (1, 2, 4) if size <= largest)
    return few + len(range(8, min(largest + 1, _DENSE_GRAPHS), 8)) + len(range(_DENSE_GRAPHS, largest + 1, 16))
