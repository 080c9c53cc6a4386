"""The agent's arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from attrs import frozen

from inference_server import contract
from inference_server.agent.weights import WeightsOptions
from inference_server.refusal import InputError
from inference_server.weights.peers import Peers


@frozen(kw_only=True)
class Options:
    """Where everything is, and what the engine was started with."""

    engine: str
    wanted: Path
    cache: Path
    secrets: Path
    host: str
    port: int
    model: str
    names: tuple[str, ...]
    max_lora_rank: int | None
    downloads: Path | None
    weights: WeightsOptions | None = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(field="arguments", rule=self.format_usage().strip(), found=message)


def parse(words: Sequence[str]) -> Options:
    """Raises InputError."""
    parser = _Parser(prog=contract.AGENT_MODULE, allow_abbrev=False)
    parser.add_argument(contract.ARG_ENGINE, default=f"http://127.0.0.1:{contract.PORT}", help="the server's URL")
    parser.add_argument(contract.ARG_WANTED, type=Path, default=Path(contract.WANTED_FILE), help="the wanted adapters")
    parser.add_argument(contract.ARG_CACHE, type=Path, default=Path(contract.ADAPTERS_DIRECTORY))
    parser.add_argument(contract.ARG_SECRETS, type=Path, default=Path(contract.SECRETS_DIRECTORY))
    parser.add_argument(contract.ARG_HOST, default="")
    parser.add_argument(contract.ARG_PORT, type=int, default=contract.AGENT_PORT)
    parser.add_argument(contract.ARG_MODEL, default="", help="what the engine serves: a folder, or a name on the hub")
    parser.add_argument(contract.ARG_SERVED_MODEL_NAME, action="append", default=[], dest="names")
    parser.add_argument(contract.ARG_MODEL_NAME, action="append", default=[], dest="names", help="another name of it")
    parser.add_argument(contract.ARG_MAX_LORA_RANK, type=int, default=None)
    parser.add_argument(contract.ARG_DOWNLOAD_DIR, type=Path, default=None, help="where the engine downloads it to")
    parser.add_argument(contract.ARG_WEIGHTS, default="", help="where the model's files come from; nothing: elsewhere")
    parser.add_argument(contract.ARG_WEIGHTS_DIRECTORY, type=Path, default=Path(contract.WEIGHTS_DIRECTORY))
    parser.add_argument(contract.ARG_WEIGHTS_CODE, choices=("true", "false"), default="false")
    parser.add_argument(contract.ARG_WEIGHTS_FORMAT, choices=("hf", "mistral"), default="hf")
    parser.add_argument(contract.ARG_PULL_SECRET, action="append", default=[], help="of the weights' registry")
    parser.add_argument(contract.ARG_WEIGHTS_PEERS, default="", help="where the agents are, with {} for the rank")
    parser.add_argument(contract.ARG_NODE_COUNT, type=int, default=1, help="how many pods hold the model")
    parser.add_argument(contract.ARG_NODE_RANK, type=int, default=0, help="which of them this one is")
    found = parser.parse_args(list(words))
    return Options(
        engine=found.engine,
        wanted=found.wanted,
        cache=found.cache.absolute(),
        secrets=found.secrets,
        host=found.host,
        port=found.port,
        model=found.model,
        names=tuple(found.names),
        max_lora_rank=found.max_lora_rank,
        downloads=found.download_dir,
        weights=_weights(found),
    )


def _peers(found: argparse.Namespace) -> Peers:
    if not found.weights_peers:
        return Peers()
    urls = tuple(found.weights_peers.replace("{}", str(rank)) for rank in range(found.nnodes))
    return Peers(urls=urls, rank=found.node_rank)


def _weights(found: argparse.Namespace) -> WeightsOptions | None:
    if not found.weights:
        return None
    return WeightsOptions(
        source=found.weights,
        directory=found.weights_directory.absolute(),
        secrets=tuple(found.secrets / name for name in found.pull_secret),
        with_code=found.weights_code == "true",
        mistral=found.weights_format == "mistral",
        peers=_peers(found),
    )
