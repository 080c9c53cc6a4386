"""KAITO's way to name adapters: each folder below one folder is an adapter, and its name the adapter's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inference_server.refusal import InputError

FILES: Final = frozenset({"adapter_config.json", "adapter_model.safetensors"})


def modules(folder: str) -> list[str]:
    """`name=path` for every adapter in it, by name; none when the folder is not there. Raises InputError."""
    try:
        subfolders = sorted(path for path in Path(folder).iterdir() if path.is_dir())
        return [f"{path.name}={path}" for path in subfolders if {file.name for file in path.iterdir()} >= FILES]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            field=folder, rule="a readable folder of adapters", found=error.strerror or "an error"
        ) from error
