"""Looks at a model on disk before the engine does: a missing or cut off file is told at once, and in a line."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Final

from inference_server import contract
from inference_server.refusal import InputError

# The safetensors format: 8 bytes with the length of a JSON header, the header, the tensors; the format's own bound.
LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 100_000_000
# A line of it names one tensor: this is room for half a million.
MAX_INDEX_BYTES: Final = 64 * 2**20
# What reading JSON of another form ends in; json counts nesting by recursion.
NOT_OF_THE_FORM: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
SUFFIX: Final = ".safetensors"
INDEX: Final = "model.safetensors.index.json"


def check(model: str | None, load_format: str | None) -> None:
    """Raises InputError when `model` is a path that does not lead to a model in the Hugging Face layout.

    A name without a leading slash or dot belongs to a hub and is left to the engine.
    """
    if model is None:
        raise InputError(field=contract.ARG_MODEL, rule="a folder or the name of a model on the hub", found="nothing")
    if not model.startswith(("/", ".")):
        return
    folder = Path(model)
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise _missing(model, "a readable folder", error.strerror or "an error") from error
    if not names & {"config.json", "params.json"}:
        raise _missing(model, "a model with its config.json", f"{len(names)} files without it")
    if load_format not in (None, "safetensors"):
        return
    files = sorted(name for name in names if name.endswith(SUFFIX))
    if not files:
        raise _missing(model, "weights as safetensors", "none")
    _check_index(folder, names)
    for name in files:
        _check_size(folder / name)


def _check_index(folder: Path, names: set[str]) -> None:
    """Every file that the index names is there."""
    if INDEX not in names:
        return
    path = folder / INDEX
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_INDEX_BYTES + 1)
        if len(raw) > MAX_INDEX_BYTES:
            raise _broken(path, f"an index of at most {MAX_INDEX_BYTES} bytes", "more")
        index: Any = json.loads(raw)
        named = set(index["weight_map"].values())
    except (OSError, *NOT_OF_THE_FORM) as error:
        raise _broken(path, "an index of weights", f"{type(error).__name__}: {error}") from error
    lacking = sorted(str(name) for name in named - names)
    if lacking:
        raise _broken(path, f"{len(named)} files, as the index names", f"all but {', '.join(lacking[:3])}")


def _check_size(path: Path) -> None:
    """The file is as long as its header says: a download that ended early is not."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(LENGTH_BYTES).ljust(LENGTH_BYTES, b"\xff"))[0]
            if length > min(MAX_HEADER_BYTES, size):
                raise _broken(path, "weights as safetensors", f"{size} bytes without their header")
            header: Any = json.loads(file.read(length))
        tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
        end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        whole = LENGTH_BYTES + length + end
    except OSError as error:
        raise _missing(str(path), "a readable file", error.strerror or "an error") from error
    except NOT_OF_THE_FORM as error:
        raise _broken(path, "weights as safetensors", "a header that cannot be read") from error
    if whole != size:
        raise _broken(path, f"{whole} bytes, as its header says", f"{size}")


def _broken(path: Path, rule: str, found: str) -> InputError:
    remedy = "the file is broken or cut off: fetch it again"
    return InputError(field=f"weights {path}", rule=rule, found=found, remedy=remedy, exit_code=contract.EXIT_MODEL)


def _missing(model: str, rule: str, found: str) -> InputError:
    remedy = "mount the model there or name another"
    return InputError(field=f"model {model}", rule=rule, found=found, remedy=remedy, exit_code=contract.EXIT_MODEL)
