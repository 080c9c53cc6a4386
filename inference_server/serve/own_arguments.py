"""The arguments that are ours or KAITO's wrapper's, not vLLM's: taken out before vLLM sees the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from inference_server import contract
from inference_server.refusal import InputError, shown

# KAITO's own wrapper of vLLM (its inference_api.py) takes these, and users' pod templates carry them along.
KAITO_CONFIG_FILE: Final = "--kaito-config-file"
KAITO_ADAPTERS: Final = "--kaito-adapters-dir"
KAITO_DISABLE_RATE_LIMIT: Final = "--kaito-disable-rate-limit"
KAITO_WITHOUT_EFFECT: Final = ("--kaito-max-probe-steps", "--kaito-kv-cache-cpu-memory-utilization")
NAMES: Final = (
    *(contract.ARG_CONFIG_FILE, contract.ARG_WEIGHTS_AGENT, contract.ARG_ARCHITECTURE),
    *(KAITO_CONFIG_FILE, KAITO_ADAPTERS, KAITO_DISABLE_RATE_LIMIT),
    *KAITO_WITHOUT_EFFECT,
)
TRUTHS: Final = {"": True, "true": True, "1": True, "false": False, "0": False}


@frozen(kw_only=True)
class OwnArguments:
    """What was given; `without_effect` are names that are accepted and do nothing.

    `weights_agent` is the URL of who brings the model's files; None where they are there, or the engine's to fetch.
    `architecture` is the model's class, where that is known before the files are there.
    """

    config_file: str | None = None
    weights_agent: str | None = None
    architecture: str | None = None
    adapters_folder: str | None = None
    disable_rate_limit: bool = False
    without_effect: tuple[str, ...] = ()


def split(words: Sequence[str]) -> tuple[OwnArguments, list[str]]:
    """Our arguments, of which the last of each counts, and the rest. Raises InputError when a value is missing."""
    values: dict[str, str] = {}
    rest: list[str] = []
    queue = iter(words)
    for word in queue:
        name, equals, value = word.partition("=")
        if name.replace("_", "-") in NAMES:
            plain = name.replace("_", "-")
            values[plain] = value if equals or plain == KAITO_DISABLE_RATE_LIMIT else _following(plain, queue)
        else:
            rest.append(word)
    own = OwnArguments(
        config_file=values.get(contract.ARG_CONFIG_FILE, values.get(KAITO_CONFIG_FILE)) or None,
        weights_agent=values.get(contract.ARG_WEIGHTS_AGENT) or None,
        architecture=values.get(contract.ARG_ARCHITECTURE) or None,
        adapters_folder=values.get(KAITO_ADAPTERS) or None,
        disable_rate_limit=_truth(values),
        without_effect=tuple(name for name in KAITO_WITHOUT_EFFECT if name in values),
    )
    if values.get(contract.ARG_CONFIG_FILE) == "":
        raise InputError(field=contract.ARG_CONFIG_FILE, rule="the path of a file follows", found="nothing")
    return own, rest


def _following(name: str, queue: Iterator[str]) -> str:
    value = next(queue, None)
    if value is None:
        raise InputError(field=name, rule="a value follows", found="nothing")
    return value


def _truth(values: dict[str, str]) -> bool:
    value = values.get(KAITO_DISABLE_RATE_LIMIT)
    if value is None:
        return False
    if value.lower() not in TRUTHS:
        raise InputError(field=KAITO_DISABLE_RATE_LIMIT, rule="a flag, or =true or =false", found=shown(value))
    return TRUTHS[value.lower()]
