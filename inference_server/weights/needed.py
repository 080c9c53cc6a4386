"""Which files of a repository a model is served from: not the copies of it in other formats and folders.

The choice is the engine's own (vLLM 0.32.0, DefaultModelLoader._prepare_weights): safetensors beside the configuration,
Mistral's (consolidated*) where they are asked for or are all there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Final

MISTRAL: Final = "consolidated"
_WEIGHTS: Final = ".safetensors"


def needed(paths: Sequence[str], *, mistral: bool = False) -> Iterable[str]:
    """The paths that are needed. Small files are, wherever they lie: some are read from subfolders."""
    here = [path for path in paths if path.endswith(_WEIGHTS) and "/" not in path]
    others = [path for path in here if path.startswith(MISTRAL) != mistral]
    # With only one of the two formats there is no choice.
    skipped = set(others if len(others) < len(here) else ())
    for path in paths:
        is_copy = path.endswith(_WEIGHTS) and len(PurePosixPath(path).parts) > 1
        if path not in skipped and not is_copy:
            yield path
