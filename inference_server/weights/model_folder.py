"""Where in what was fetched the model lies: images may hold it in a folder of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from inference_server.files.errors import FetchError, Kind

# What the engine reads first: Hugging Face's, or Mistral's own.
CONFIGURATIONS: Final = frozenset({"config.json", "params.json"})
_DEEPEST: Final = 6
_SHOWN: Final = 5


def model_folder(fetched: Path, source: str) -> Path:
    """The folder nearest to the top with a configuration and safetensors beside it.

    Raises:
        FetchError: there is none, or there are several at the same depth (invalid).
    """
    level = [fetched]
    for _ in range(_DEEPEST):
        found = [folder for folder in level if _is_model(folder)]
        if len(found) > 1:
            names = ", ".join(str(folder.relative_to(fetched)) for folder in found[:_SHOWN])
            raise _refused(source, f"it holds {len(found)} models, in {names}", "pack them apart")
        if found:
            return found[0]
        level = [path for folder in level for path in sorted(folder.iterdir()) if path.is_dir()]
    paths = sorted(path for path in fetched.rglob("*") if path.is_file())
    names = ", ".join(str(path.relative_to(fetched)) for path in paths[:_SHOWN]) or "nothing"
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    rule = f"no folder of it has a config.json and .safetensors files beside it, only {names}{more}"
    raise _refused(source, rule, "only safetensors are served: convert the weights, or name another source")


def _is_model(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir() if path.is_file()}
    return not names.isdisjoint(CONFIGURATIONS) and any(name.endswith(".safetensors") for name in names)


def _refused(source: str, found: str, remedy: str) -> FetchError:
    return FetchError(kind=Kind.INVALID, subject=source, found=found, remedy=remedy)
