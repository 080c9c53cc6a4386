"""Whether bitsandbytes runs here: asked by letting it, as it is many programs for many devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference_server import contract
from inference_server.refusal import InputError


def check(quantization: Mapping[str, Any], device: str) -> None:
    """Multiplies with a small quantized matrix, forth and back, on the device. Raises InputError when it cannot."""
    try:
        _try(device, four_bit=bool(quantization.get("load_in_4bit")))
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:600]
        raise InputError(
            field=f"{contract.ARG_METHOD} qlora",
            rule=f"a device that bitsandbytes can quantize on ({device})",
            found=told,
            remedy="tune with the method lora, or on another GPU",
            exit_code=contract.EXIT_CONFIG,
        ) from error


def _try(device: str, *, four_bit: bool) -> None:
    import torch
    from bitsandbytes import nn

    layer = (
        nn.Linear4bit(128, 64, bias=False, quant_type="nf4", compute_dtype=torch.float32)
        if four_bit
        else nn.Linear8bitLt(128, 64, bias=False, has_fp16_weights=False)
    ).to(device)
    words = torch.ones(4, 128, device=device, requires_grad=True)
    layer(words).sum().backward()
    if words.grad is None or not bool(torch.isfinite(words.grad).all()):
        msg = "the gradient through a quantized matrix is not finite"
        raise ArithmeticError(msg)
