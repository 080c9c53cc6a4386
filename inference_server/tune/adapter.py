"""The adapter on disk: two files, whole or not there, and the file that says that it is complete."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from inference_server import contract

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
FILES: Final = (CONFIG, WEIGHTS)
# Which run the files are of, and their checksums: a try after an eviction knows by it that nothing is left to train.
_RECORD: Final = ".tuning.json"


def save(write: Callable[[Path], None], output: Path, *, model_name: str, identity: str) -> None:
    """Has `write` write peft's files into a folder, and puts those of the adapter into `output`.

    The configuration names `model_name` as its base, so that the adapter fits wherever that model is served from.
    """
    making = output / ".adapter"
    shutil.rmtree(making, ignore_errors=True)
    try:
        write(making)
        config = json.loads((making / CONFIG).read_text(encoding="utf-8"))
        (making / CONFIG).write_text(_config(config, model_name), encoding="utf-8")
        record = {"identity": identity, "files": {name: _digest(making / name) for name in FILES}}
        for name in (WEIGHTS, CONFIG):
            # Whoever serves it may be another user than the one who trained it.
            (making / name).chmod(0o644)
            _persist(making / name)
            (making / name).replace(output / name)
        (making / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        (making / _RECORD).replace(output / _RECORD)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def is_saved(output: Path, identity: str) -> bool:
    """Whether the adapter of this very run is there, whole."""
    try:
        record = json.loads((output / _RECORD).read_text(encoding="utf-8"))
        return bool(record["identity"] == identity) and all(
            _digest(output / name) == record["files"][name] for name in FILES
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def forget(output: Path) -> None:
    """A new try has completed nothing yet."""
    (output / contract.TUNING_COMPLETED_FILE_NAME).unlink(missing_ok=True)


def complete(output: Path) -> None:
    """Says that the adapter is where it belongs, in KAITO's words."""
    now = dt.datetime.now(tz=dt.UTC)
    (output / contract.TUNING_COMPLETED_FILE_NAME).write_text(
        f"Fine-Tuning completed at {now:%Y-%m-%d %H:%M:%S}\n", encoding="utf-8"
    )


def _config(config: dict[str, Any], model_name: str) -> str:
    """Peft's own, with the base's name; sets become lists in an order that changes from run to run, so it is sorted."""
    targets = config.get("target_modules")
    config["target_modules"] = sorted(targets) if isinstance(targets, list) else targets
    config["base_model_name_or_path"] = model_name
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _persist(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
