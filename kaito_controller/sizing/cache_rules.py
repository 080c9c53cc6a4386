"""What of the engine's configuration decides the shape of its KV cache."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class CacheRules:
    """The settings that vLLM's cache specifications and their grouping depend on.

    `block_size` is the tokens of a block before anything is aligned, `kernel_block` the smallest one that the attention
    kernels take. `number_bytes` is the size of one number of keys and values, `model_bytes` that of the model's own
    precision, `recurrent_bytes` that of a recurrent state where the user decides it. `in_flight_tokens` bounds what is
    scheduled and not yet settled (vLLM, VllmConfig.max_in_flight_tokens). `prefix_caching` makes layers keep further
    states. `packed_latent_bytes` is the size of one packed entry of sparse latent attention, where the cache is packed;
    `encoder_tokens` the longest input of an encoder.
    """

    block_size: int
    kernel_block: int
    number_bytes: int
    model_bytes: int
    in_flight_tokens: int
    prefix_caching: bool = True
    recurrent_bytes: int | None = None
    packed_latent_bytes: int | None = None
    encoder_tokens: int = 0
