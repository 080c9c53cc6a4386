"""adapter_config.json, as peft writes it, read as untrusted data: what vLLM would misread or refuse is refused here.

vLLM 0.32 checks the same features once it loads (`vllm.lora.peft_helper.PEFTHelper`); not that the patterns
of rank and alpha, which it runs as regular expressions, are plain names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NoReturn

from attrs import field, frozen

from inference_server.agent.refusal import AdapterRefusedError, Reason
from inference_server.finite import is_finite
from inference_server.refusal import shown

FILE_NAME: Final = "adapter_config.json"
MAX_BYTES: Final = 1024 * 1024
MAX_RANK: Final = 65536
MAX_PATTERNS: Final = 10_000
PLAIN_NAME: Final = re.compile(r"[\w.-]{1,512}", re.ASCII)
# peft's ways to begin that leave the base model's weights as they are; all others are of no use on other weights.
HARMLESS_INITS: Final = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})
# What changes the meaning of the weights in a way that vLLM does not compute, by the name of the switch.
UNSUPPORTED: Final[Mapping[str, str]] = {
    "use_dora": "DoRA",
    "lora_bias": "biases of LoRA layers",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "replicated layers",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
    "modules_to_save": "whole modules beside the LoRA layers",
    "trainable_token_indices": "tokens trained one by one",
    "target_parameters": "LoRA on single parameters",
}


@frozen(kw_only=True)
class AdapterConfig:
    """What counts when an adapter is served. `rank` is the highest of all modules."""

    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    uses_root_scaling: bool
    base_model: str | None
    _order: Mapping[str, int] = field(init=False, repr=False, eq=False)

    @_order.default
    def _order_of_patterns(self) -> Mapping[str, int]:
        return {key: number for number, key in enumerate(self.rank_pattern)}

    @property
    def highest_rank(self) -> int:
        """The rank that the engine must have room for."""
        return max(self.rank, *self.rank_pattern.values()) if self.rank_pattern else self.rank

    def rank_of(self, module: str) -> int:
        """The rank of one module: a pattern is its name or the end of it, and the first that fits counts.

        Looked up by the ends of the name: a file may bring thousands of patterns, and hundreds of thousands of modules.
        """
        parts = module.split(".")
        fitting = [end for start in range(len(parts)) if (end := ".".join(parts[start:])) in self._order]
        return self.rank_pattern[min(fitting, key=self._order.__getitem__)] if fitting else self.rank

    def served(self, strength: Fraction, modules: Iterable[str]) -> dict[str, Any]:
        """The file for the engine: nothing but what was checked, with alpha scaled.

        The weights' share is alpha / rank · B · A, so scaling alpha scales the adapter, exactly and without a touch to
        the tensors.
        """
        return {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": float(Fraction(self.alpha) * strength),
            "rank_pattern": dict(self.rank_pattern),
            "alpha_pattern": {key: float(Fraction(one) * strength) for key, one in self.alpha_pattern.items()},
            "use_rslora": self.uses_root_scaling,
            "bias": "none",
            "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
        }


def read(folder: Path) -> AdapterConfig:
    """The config in `folder`. Raises AdapterRefusedError."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        _invalid(f"{FILE_NAME} cannot be read ({error.strerror}); an adapter has it beside adapter_model.safetensors")
    if len(text) > MAX_BYTES:
        _invalid(f"{FILE_NAME} is larger than {MAX_BYTES} bytes")
    return parse(text)


def parse(text: bytes) -> AdapterConfig:
    """Raises AdapterRefusedError for what is malformed or not served."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        _invalid(f"{FILE_NAME} is no JSON: {error}")
    if not isinstance(document, dict):
        _invalid(f"{FILE_NAME} holds no JSON object")
    _check_features(document)
    base = document.get("base_model_name_or_path")
    return AdapterConfig(
        rank=_rank("r", document.get("r")),
        alpha=_alpha("lora_alpha", document.get("lora_alpha")),
        rank_pattern={key: _rank(f"rank_pattern.{key}", one) for key, one in _pattern(document, "rank_pattern")},
        alpha_pattern={key: _alpha(f"alpha_pattern.{key}", one) for key, one in _pattern(document, "alpha_pattern")},
        uses_root_scaling=document.get("use_rslora") is True,
        base_model=base if isinstance(base, str) and base else None,
    )


def _check_features(document: Mapping[str, Any]) -> None:
    if document.get("peft_type") != "LORA":
        _unsupported(f"peft_type is {shown(document.get('peft_type'))}; only LORA adapters are served")
    bias = document.get("bias", "none")
    if bias != "none":
        _unsupported(f"bias is {shown(bias)}; train it with bias: none")
    for name, what in UNSUPPORTED.items():
        if document.get(name):
            _unsupported(f"{name} is set, and the engine has no {what}; train it without")
    init = document.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in HARMLESS_INITS:
        _unsupported(
            f"init_lora_weights is {shown(init)}, which changed the base model's weights in training; convert it to a "
            "plain LoRA adapter with peft's path_initial_model_for_weight_conversion"
        )


def _pattern(document: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    value = document.get(name) or {}
    if not isinstance(value, dict) or len(value) > MAX_PATTERNS:
        _invalid(f"{name} is {shown(value)} and no map of at most {MAX_PATTERNS} names")
    for key in value:
        if not PLAIN_NAME.fullmatch(key):
            _invalid(f"{name} names {shown(key)}; only names of modules are served, no regular expressions")
    return list(value.items())


def _rank(name: str, value: Any) -> int:
    if type(value) is not int or not 0 < value <= MAX_RANK:
        _invalid(f"{name} is {shown(value)} and no rank")
    return value


def _alpha(name: str, value: Any) -> float:
    if not is_finite(value) or abs(value) > 2**32:
        _invalid(f"{name} is {shown(value)} and no factor")
    return float(value)


def _invalid(message: str) -> NoReturn:
    raise AdapterRefusedError(reason=Reason.FILES_INVALID, message=message)


def _unsupported(message: str) -> NoReturn:
    raise AdapterRefusedError(reason=Reason.UNSUPPORTED, message=message)
