"""The arguments of this server: those of the contract that mean something to transformers, with the user's file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from attrs import frozen

from inference_server import contract
from inference_server.notice import tell
from inference_server.refusal import InputError, nearest, shown
from inference_server.serve import chat_template, config_file

DTYPES: Final = ("auto", "float16", "bfloat16", "float32")
# Requests wait for the one that is answered: as many as a person is patient for.
MAX_WAITING: Final = 32
# What a file may set here, of the options that it holds for vLLM.
FROM_FILE: Final = ("max-model-len", "dtype", "chat-template", "served-model-name", "revision", "trust-remote-code")
MAX_PORT: Final = 65535


@frozen(kw_only=True)
class Options:
    """What to serve and how. `max_model_len` counts tokens of prompt and answer; None is the model's own limit.

    `weights_agent` is the URL of who brings the model's files and says where they are; None where that is known.
    """

    model: str
    served_names: tuple[str, ...]
    host: str
    port: int
    dtype: str
    max_model_len: int | None
    revision: str | None
    download_dir: str | None
    chat_template: str | None
    weights_agent: str | None
    trust_remote_code: bool
    max_waiting: int


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and leave, so that the cause can be told in one line."""

    def error(self, message: str) -> NoReturn:
        name, _, rest = message.removeprefix("argument ").partition(": ")
        raise InputError(field=name, rule="as the option asks", found=rest or message)


def _parser() -> _Parser:
    parser = _Parser(prog=contract.SERVE_TRANSFORMERS_MODULE, allow_abbrev=False)
    parser.add_argument(contract.ARG_MODEL)
    parser.add_argument(contract.ARG_SERVED_MODEL_NAME, nargs="+", default=[])
    parser.add_argument(contract.ARG_HOST, default="0.0.0.0")
    parser.add_argument(contract.ARG_PORT, type=_port, default=contract.PORT)
    parser.add_argument(contract.ARG_DTYPE, choices=DTYPES, default="auto")
    parser.add_argument(contract.ARG_MAX_MODEL_LEN, type=_length, default=None)
    parser.add_argument(contract.ARG_REVISION)
    parser.add_argument(contract.ARG_DOWNLOAD_DIR)
    parser.add_argument(contract.ARG_CHAT_TEMPLATE)
    parser.add_argument(contract.ARG_WEIGHTS_AGENT)
    parser.add_argument(contract.ARG_TRUST_REMOTE_CODE, action="store_true")
    parser.add_argument(contract.ARG_CONFIG_FILE)
    parser.add_argument(contract.ARG_MAX_WAITING, type=_count, default=MAX_WAITING)
    return parser


def read(words: Sequence[str]) -> Options:
    """The options of the command line, over which the file's win. Raises InputError for what cannot be accepted."""
    parser = _parser()
    known, unknown = parser.parse_known_args(list(words))
    if unknown:
        names = [name for action in parser._actions for name in action.option_strings]  # noqa: SLF001 (no other way)
        name = unknown[0].partition("=")[0]
        remedy = nearest(name, names)
        raise InputError(field=name, rule="an option of the transformers runtime", found="unknown", remedy=remedy)
    if known.config_file:
        known = parser.parse_args([*words, *_words_of(config_file.read(Path(known.config_file)))])
    if not known.model:
        raise InputError(field=contract.ARG_MODEL, rule="a folder or the name of a model on the hub", found="nothing")
    if known.revision and known.weights_agent:
        tell("revision has no effect: the files are fetched as kaito.sh/weights says")
    return Options(
        model=known.model,
        served_names=tuple(known.served_model_name) or (known.model,),
        host=known.host,
        port=known.port,
        dtype=known.dtype,
        max_model_len=known.max_model_len,
        revision=known.revision,
        download_dir=known.download_dir,
        chat_template=chat_template.path_of(known.chat_template) if known.chat_template else None,
        weights_agent=known.weights_agent,
        trust_remote_code=known.trust_remote_code,
        max_waiting=known.max_waiting,
    )


def _words_of(file: config_file.ConfigFile) -> list[str]:
    words: list[str] = []
    idle = [*file.without_effect]
    for key, value in file.vllm.items():
        name = key.replace("_", "-")
        if name not in FROM_FILE:
            idle.append(f"{contract.CONFIG_SECTION}.{key}")
        elif isinstance(value, bool):
            words += [f"--{name}"] if value else []
        elif isinstance(value, list):
            words += [f"--{name}", *(str(one) for one in value)]
        else:
            words.append(f"--{name}={_plain(key, value)}")
    for name in idle:
        tell(f"{name} in the config file has no effect on transformers")
    return words


def _plain(key: str, value: Any) -> str:
    if not isinstance(value, str | int) or value == "":
        field = f"{contract.CONFIG_SECTION}.{key}"
        raise InputError(field=field, rule="a value", found=shown(value), exit_code=contract.EXIT_CONFIG)
    return str(value)


def _length(text: str) -> int | None:
    return None if text == contract.MAX_MODEL_LEN_AUTO else _count(text)


def _port(text: str) -> int:
    port = _count(text)
    if port > MAX_PORT:
        raise argparse.ArgumentTypeError(f"at most {MAX_PORT}, found {text}")
    return port


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number above zero, found {text!r}")
    return int(text)
