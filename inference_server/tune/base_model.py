"""The base model on disk: in the folder that is named, or below it, as images may hold it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from inference_server.files.errors import FetchError
from inference_server.serve import model_folder
from inference_server.weights.model_folder import model_folder as nearest


def find(folder: Path) -> Path:
    """The model's own folder, looked at: whole files, as safetensors. Raises InputError."""
    found = folder
    # What is no model is told by the look at it.
    with suppress(FetchError, OSError):
        found = nearest(folder, str(folder))
    model_folder.check(str(found), None)
    return found
