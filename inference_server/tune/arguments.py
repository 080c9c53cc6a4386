"""The words after `python -m inference_server.tune`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import NoReturn

from attrs import frozen

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.tune.config import LORA, METHODS


@frozen(kw_only=True)
class Arguments:
    """One command: `fetch` or `run`, and what it works on. `secrets` of both directions are folders.

    `model` is the base model's folder; `weights` says where `fetch` brings it from, None where it is there already.
    """

    command: str
    method: str
    model: Path
    model_name: str
    weights: str | None
    config_file: Path | None
    data: Path
    data_urls: tuple[str, ...]
    data_image: str | None
    output: Path
    output_image: str | None
    pull_secrets: tuple[Path, ...]
    push_secrets: tuple[Path, ...]
    private: tuple[IPv4Network | IPv6Network, ...]
    host: str
    port: int
    processes: int | None


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print and leave, so that the cause can be told in one line."""

    def error(self, message: str) -> NoReturn:
        name, _, rest = message.removeprefix("argument ").partition(": ")
        raise InputError(field=name, rule="as `python -m inference_server.tune --help` says", found=rest or message)


def _parser() -> _Parser:
    parser = _Parser(prog=f"python -m {contract.TUNE_MODULE}", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("command", choices=(contract.TUNE_FETCH, contract.TUNE_RUN), help="bring and check the data, or train")
    add(contract.ARG_METHOD, choices=METHODS, default=LORA, help="default: lora")
    add(contract.ARG_MODEL, type=Path, required=True, help="the base model's folder")
    add(contract.ARG_MODEL_NAME, help="what the adapter names as its base model; default: --model")
    add(contract.ARG_WEIGHTS, help="hf:// or oci://: where to bring it from; default: it is there already")
    add(contract.ARG_CONFIG_FILE, type=Path, help="training_config.yaml; default: the method's own")
    add(contract.ARG_DATA, type=Path, default=Path(contract.DATA_DIRECTORY), help="the folder that holds the data")
    add(contract.ARG_DATA_URL, action="append", default=[], help="a file to download; again for more")
    add(contract.ARG_DATA_IMAGE, help="an image with the data below /data")
    add(contract.ARG_OUTPUT, type=Path, default=Path(contract.RESULTS_DIRECTORY), help="for checkpoints and adapter")
    add(contract.ARG_OUTPUT_IMAGE, help="where to push the adapter")
    add(contract.ARG_SECRETS, type=Path, default=Path(contract.SECRETS_DIRECTORY), help="folders of mounted Secrets")
    add(contract.ARG_PULL_SECRET, action="append", default=[], help="a folder of --secrets; again for more")
    add(contract.ARG_PUSH_SECRET, action="append", default=[], help="a folder of --secrets; again for more")
    add(
        contract.ARG_ALLOW_PRIVATE_URLS,
        action="append",
        default=[],
        help="a CIDR that URLs may lead to; again for more",
    )
    add(contract.ARG_HOST, default="0.0.0.0", help="where /report and /metrics are answered")
    add(contract.ARG_PORT, type=int, default=contract.TUNE_PORT, help="see --host; 0 for any that is free")
    add(contract.ARG_PROCESSES, type=int, help="default: one for each GPU, and one without any")
    return parser


def parse(words: Sequence[str]) -> Arguments:
    """The arguments in words. Raises InputError."""
    found = _parser().parse_args(list(words))
    if found.processes is not None and found.processes < 1:
        raise InputError(field=contract.ARG_PROCESSES, rule="at least 1", found=str(found.processes))
    return Arguments(
        command=found.command,
        method=found.method,
        model=found.model.absolute(),
        model_name=found.model_name or str(found.model),
        weights=found.weights,
        config_file=found.config_file,
        data=found.data,
        data_urls=tuple(found.data_url),
        data_image=found.data_image,
        output=found.output,
        output_image=found.output_image,
        pull_secrets=tuple(_secret(contract.ARG_PULL_SECRET, found.secrets, name) for name in found.pull_secret),
        push_secrets=tuple(_secret(contract.ARG_PUSH_SECRET, found.secrets, name) for name in found.push_secret),
        private=tuple(_network(text) for text in found.allow_private_urls),
        host=found.host,
        port=found.port,
        processes=found.processes,
    )


def _secret(field: str, folder: Path, name: str) -> Path:
    if not name or "/" in name or name.startswith("."):
        raise InputError(field=field, rule="the name of a Secret", found=repr(name))
    return folder / name


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        field = contract.ARG_ALLOW_PRIVATE_URLS
        raise InputError(field=field, rule="a network like 10.0.0.0/8", found=str(error)) from error
