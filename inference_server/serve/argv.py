"""From the pod's arguments and the user's file to the arguments of vLLM. Pure: the options vLLM has are handed in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from inference_server import contract
from inference_server.refusal import InputError, nearest, shown
from inference_server.serve import adapters_folder
from inference_server.serve.config_file import ConfigFile
from inference_server.serve.own_arguments import NAMES, OwnArguments

# Layers around vLLM's application, the innermost first: the queue is guarded below /chat, which asks the guarded paths.
GUARD_MIDDLEWARE: Final = "inference_server.serve.queue_guard.QueueGuard"
MIDDLEWARE: Final = (
    "inference_server.serve.body_limit.BodyLimit",
    GUARD_MIDDLEWARE,
    "inference_server.serve.chat.ChatRoute",
    "inference_server.serve.administration.Administration",
    "inference_server.serve.drain.Drain",
)
# The Service and the probes speak plain HTTP to contract.PORT on every address: a file cannot move the server away.
FIXED: Final = frozenset({"host", "port", "uds", "ssl-keyfile", "ssl-certfile", "config", "config-file"})
SHUTDOWN_TIMEOUT, LORA_MODULES = "shutdown-timeout", "lora-modules"


@frozen(kw_only=True)
class Option:
    """One of vLLM's options: whether a value follows it, several may, and whether `--no-NAME` exists."""

    takes_value: bool
    several: bool = False
    negatable: bool = False


def resolve(
    argv: Sequence[str], config: ConfigFile, options: Mapping[str, Option], *, own: OwnArguments | None = None
) -> list[str]:
    """The complete arguments for vLLM: our defaults, then `argv`, then the file, of which the last counts.

    Raises InputError for an option that vLLM does not have, with the names most like it.
    """
    own = own or OwnArguments()
    for word in argv:
        _check_known(word, options)
    given = {_plain(word) for word in argv if word.startswith("--")} | {key.replace("_", "-") for key in config.vllm}
    defaults: list[str] = []
    if _plain(contract.ARG_PORT) not in given:
        defaults += [contract.ARG_PORT, str(contract.PORT)]
    if _plain(contract.ARG_LOAD_FORMAT) not in given:
        # Weights are untrusted input: without this vLLM falls back to pickled files where there are no safetensors.
        defaults += [contract.ARG_LOAD_FORMAT, "safetensors"]
    if is_later_rank(argv) and _plain(contract.ARG_HEADLESS) not in given:
        # Every rank is given the same words but for its number; only the first serves the API.
        defaults.append(contract.ARG_HEADLESS)
    if _has_several_servers(argv, config) and SHUTDOWN_TIMEOUT not in given and SHUTDOWN_TIMEOUT in options:
        # vLLM's parent process ends the engines this long after the signal; its API processes drain by themselves.
        defaults += [f"--{SHUTDOWN_TIMEOUT}", str(contract.DRAIN_SECONDS + 5)]
    if own.adapters_folder is not None and LORA_MODULES not in given:
        defaults += _adapters(own.adapters_folder)
    from_file = [word for key, value in config.vllm.items() for word in words_for(key, value, options)]
    layers = [one for one in MIDDLEWARE if not (own.disable_rate_limit and one == GUARD_MIDDLEWARE)]
    return [*defaults, *argv, *from_file, *(word for layer in layers for word in ("--middleware", layer))]


def last(words: Sequence[str], name: str) -> str | None:
    """The value that counts of an option given once or more, as `--name value` or `--name=value`."""
    value = None
    for index, word in enumerate(words):
        head, equals, tail = word.partition("=")
        if head == name:
            value = tail if equals else next(iter(words[index + 1 : index + 2]), None)
    return value


def wanted(argv: Sequence[str], config: ConfigFile, name: str) -> str | None:
    """The value of an option that takes one, before its name is checked: the file's, else the arguments'."""
    plain = _plain(name)
    of_file = [value for key, value in config.vllm.items() if key.replace("_", "-") == plain]
    return str(of_file[-1]) if of_file else last(argv, name)


def words_for(key: str, value: Any, options: Mapping[str, Option]) -> list[str]:
    """The words of one entry of the file: `enforce-eager: true` → `--enforce-eager`; a map becomes JSON."""
    field = f"{contract.CONFIG_SECTION}.{key}"
    name = key.replace("_", "-")
    option = options.get(name.partition(".")[0])
    if option is None:
        raise _config(field, "an option of vLLM, without dashes in front", "an unknown name", nearest(name, options))
    if name in FIXED:
        raise _config(field, "not set by a file, as Service and probes depend on it", shown(value), "leave it out")
    if value is None:
        raise _config(field, "a value", "nothing", "give one or leave the key out")
    if not option.takes_value:
        return _flag(field, name, value, option)
    if isinstance(value, list) and option.several:
        return [f"--{name}", *(_text(one) for one in value)]
    text = _text(value)
    return [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]


def is_later_rank(argv: Sequence[str]) -> bool:
    """Whether these arguments start a rank above 0, which serves no API."""
    rank = last(argv, contract.ARG_NODE_RANK)
    return rank is not None and rank.isdecimal() and int(rank) > 0


def _has_several_servers(argv: Sequence[str], config: ConfigFile) -> bool:
    counts = (wanted(argv, config, name) for name in (contract.ARG_DATA_PARALLEL_SIZE, "--api-server-count"))
    return any(count is not None and count.isdecimal() and int(count) > 1 for count in counts)


def _adapters(folder: str) -> list[str]:
    modules = adapters_folder.modules(folder)
    return [contract.ARG_ENABLE_LORA, f"--{LORA_MODULES}", *modules] if modules else []


def _flag(field: str, name: str, value: Any, option: Option) -> list[str]:
    wanted = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(wanted, bool):
        raise _config(field, "true or false", shown(value), "")
    if wanted:
        return [f"--{name}"]
    return [f"--no-{name}"] if option.negatable else []


def _text(value: Any) -> str:
    if isinstance(value, bool | dict | list):
        return json.dumps(value)
    return str(value)


def _plain(word: str) -> str:
    return word.partition("=")[0].removeprefix("--").replace("_", "-")


def _check_known(word: str, options: Mapping[str, Option]) -> None:
    if not word.startswith("--") or word == "--":
        return
    name = _plain(word).partition(".")[0]
    positive = name.removeprefix("no-")
    if name in options or (positive in options and options[positive].negatable):
        return
    known = [f"--{one}" for one in (*options, *(name.removeprefix("--") for name in NAMES))]
    remedy = nearest(f"--{name}", known)
    raise InputError(
        field=f"--{name}", rule="an option of vLLM or --config-file", found="an unknown name", remedy=remedy
    )


def _config(field: str, rule: str, found: str, remedy: str) -> InputError:
    return InputError(field=field, rule=rule, found=found, remedy=remedy, exit_code=contract.EXIT_CONFIG)
