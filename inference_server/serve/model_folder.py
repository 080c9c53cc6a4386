"""Looks at a model on disk before the engine does: a missing file is told in a line, not in a trace."""

from __future__ import annotations

from pathlib import Path

from inference_server import contract
from inference_server.serve.refusal import InputError


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
    wants_safetensors = load_format in (None, "safetensors")
    if wants_safetensors and not any(name.endswith(".safetensors") for name in names):
        raise _missing(model, "weights as safetensors", "none")


def _missing(model: str, rule: str, found: str) -> InputError:
    remedy = "mount the model there or name another"
    return InputError(field=f"model {model}", rule=rule, found=found, remedy=remedy, exit_code=contract.EXIT_MODEL)
