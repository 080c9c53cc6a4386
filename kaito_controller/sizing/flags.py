"""The engine's own options as a user may give them, as far as memory and parallelism depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, fields, frozen

# No engine has so many of anything, nor so long a context; arithmetic beyond it is a way to keep the operator busy.
_LARGEST: Final = 10**9
_TRUE: Final = {"true", "yes", "1", ""}
_FALSE: Final = {"false", "no", "0"}


class FlagProblem(ValueError):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """An option has a value that cannot be; the message names the option, the rule and what was found."""


@frozen(kw_only=True)
class EngineFlags:
    """Options of vLLM by its own names; None where the user leaves the choice to the plan or the engine.

    `max_model_len` 0 means that the engine is to find the length (`auto`).
    """

    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    data_parallel_size: int | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    block_size: int | None = None
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    dtype: str | None = None
    mamba_ssm_cache_dtype: str | None = None
    enforce_eager: bool = False
    enable_prefix_caching: bool | None = None
    enable_expert_parallel: bool = False
    enable_lora: bool = False
    max_loras: int = 1
    max_lora_rank: int = 16

    def over(self, others: EngineFlags) -> EngineFlags:
        """These flags, and where they say nothing, the others'."""
        unsaid = EngineFlags()
        said = {one.name: getattr(self, one.name) for one in fields(EngineFlags)}
        return evolve(others, **{name: value for name, value in said.items() if value != getattr(unsaid, name)})

    @property
    def length(self) -> int | None:
        """The context asked for in tokens; None where the engine is to find it."""
        return self.max_model_len or None


def read_flags(section: Mapping[str, Any]) -> EngineFlags:
    """The flags among an engine's options, each written with dashes or underscores; other options are not looked at.

    Raises:
        FlagProblem: one has a value that cannot be.
    """
    found = {str(name).strip("-").replace("-", "_"): value for name, value in section.items()}
    return EngineFlags(
        tensor_parallel_size=_number(found, "tensor_parallel_size"),
        pipeline_parallel_size=_number(found, "pipeline_parallel_size"),
        data_parallel_size=_number(found, "data_parallel_size"),
        max_model_len=_length(found),
        gpu_memory_utilization=_share(found, "gpu_memory_utilization"),
        max_num_seqs=_number(found, "max_num_seqs"),
        max_num_batched_tokens=_number(found, "max_num_batched_tokens"),
        block_size=_number(found, "block_size"),
        kv_cache_dtype=_word(found, "kv_cache_dtype"),
        quantization=_word(found, "quantization"),
        dtype=_word(found, "dtype"),
        mamba_ssm_cache_dtype=_word(found, "mamba_ssm_cache_dtype"),
        enforce_eager=_flag(found, "enforce_eager") or False,
        enable_prefix_caching=_caching(found),
        enable_expert_parallel=_flag(found, "enable_expert_parallel") or False,
        enable_lora=_flag(found, "enable_lora") or False,
        max_loras=_number(found, "max_loras") or 1,
        max_lora_rank=_number(found, "max_lora_rank") or 16,
    )


def _length(found: Mapping[str, Any]) -> int | None:
    return 0 if found.get("max_model_len") in ("auto", -1, "-1") else _number(found, "max_model_len")


def _caching(found: Mapping[str, Any]) -> bool | None:
    return False if _flag(found, "no_enable_prefix_caching") else _flag(found, "enable_prefix_caching")


def _number(found: Mapping[str, Any], name: str) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if isinstance(value, str) and value.isdecimal() and len(value) <= len(str(_LARGEST)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST:
        raise _problem(name, f"must be a whole number from 1 to {_LARGEST}", value)
    return value


def _share(found: Mapping[str, Any], name: str) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    try:
        share = float(value) if not isinstance(value, bool) else 0.0
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share <= 1:
        raise _problem(name, "must be a number above 0 and at most 1", value)
    return share


def _word(found: Mapping[str, Any], name: str) -> str | None:
    value = found.get(name)
    if value is None or value == "auto":
        return None
    if not isinstance(value, str):
        raise _problem(name, "must be a word", value)
    return value


def _flag(found: Mapping[str, Any], name: str) -> bool | None:
    value = found.get(name)
    if value is None and name not in found:
        return None
    text = "" if value is None else str(value).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _problem(name, "must be true or false", value)


def _problem(name: str, rule: str, value: object) -> FlagProblem:
    return FlagProblem(f"{name.replace('_', '-')} {rule}, found {str(value)[:60]!r}")
