"""The command line of `hack/measure-fit`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from kaito_controller.catalog.model import EngineDevice
from measure_fit.record import DATA

_MOST_RANKS: Final = 1024
_LONGEST_S: Final = 86_400


@frozen(kw_only=True)
class Options:
    """What is asked for. `more` are options of the engine, for the ledger as well; `data` None keeps nothing."""

    config: Path
    device: EngineDevice
    gpu: str | None
    utilization: str | None
    max_model_len: str
    tensor: int
    python: Path
    data: Path | None
    log: Path | None
    limit_s: float
    more: tuple[str, ...]


def read_options(argv: Sequence[str]) -> Options:
    """The words of a command line, those after `--` the engine's; argparse leaves where they are wrong."""
    at = argv.index("--") if "--" in argv else len(argv)
    found = _parser().parse_args(argv[:at])
    device = EngineDevice(found.device)
    return Options(
        config=found.config,
        device=device,
        gpu=found.gpu,
        utilization=found.gpu_memory_utilization,
        max_model_len=found.max_model_len,
        tensor=found.tensor_parallel,
        python=found.python,
        data=found.data or (DATA if device is EngineDevice.CUDA else None),
        log=found.log,
        limit_s=found.timeout,
        more=tuple(argv[at + 1 :]),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hack/measure-fit",
        usage="%(prog)s --config FOLDER|FILE [OPTIONS] [-- ENGINE FLAGS]",
        description="Start a real engine from a config.json alone, and compare its memory with our ledger.",
        epilog="What follows -- goes to the engine, and is read by the ledger too.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, metavar="FOLDER|FILE", help="a config.json, or the folder of one")
    add("--device", choices=list(EngineDevice), default="cuda", help="cpu tries out the tool itself (default: cuda)")
    add("--gpu", metavar="NAME", help="the catalogue's name of the GPU (default: what nvidia-smi finds)")
    add("--gpu-memory-utilization", metavar="U", help="the engine's share of the GPU (default: the plan's)")
    add("--max-model-len", metavar="N|auto", default="auto", help="the longest context (default: what fits)")
    add("--tensor-parallel", type=_ranks, metavar="N", default=1, help="GPUs that share the model (default: 1)")
    add("--python", type=Path, default=Path(sys.executable), help="an interpreter with vLLM (default: this one)")
    add("--data", type=Path, metavar="FILE", help=f"add the figures here (default: {DATA.name}; of a CPU nowhere)")
    add("--log", type=Path, metavar="FILE", help="keep what the engine writes here")
    add("--timeout", type=_seconds, metavar="SECONDS", default=1800, help="the longest start (default: 1800)")
    return parser


def _ranks(text: str) -> int:
    if not (text.isdecimal() and len(text) <= len(str(_MOST_RANKS)) and 0 < int(text) <= _MOST_RANKS):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MOST_RANKS}, found '{text[:40]}'")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most {_LONGEST_S}, found '{text[:40]}'")
    return seconds
