"""A model read from its own files, in the catalogue's terms."""

from __future__ import annotations

from kaito_controller.catalog.config_json.reader import read_config
from kaito_controller.catalog.config_json.values import ConfigProblem
from kaito_controller.catalog.engines import Engine, UnsupportedArchitectureError
from kaito_controller.catalog.model import Preset
from kaito_controller.sources.errors import SourceError, Trouble, malformed
from kaito_controller.sources.model_files import ModelFiles

FAMILY = "custom"
"""What models have as their family that no file of the catalogue describes."""


def described(files: ModelFiles, engine: Engine) -> Preset:
    """The preset that a model's own files make.

    Raises:
        SourceError: UNSUPPORTED where the engine has no such architecture or the weights have no sizes, MALFORMED where
            a number is missing, absurd or contradicts another.
    """
    what = files.model_id
    document = dict(files.config)
    if files.quantisation is not None:
        document.setdefault("quantization_config", dict(files.quantisation))
    try:
        config = read_config(document)
        engine.architecture([config.architecture.name])
    except ConfigProblem as problem:
        raise malformed(f"{what}: {problem}") from problem
    except UnsupportedArchitectureError as error:
        raise SourceError(Trouble.UNSUPPORTED, f"{what}: config.json: {error}") from error
    if not files.tensors:
        raise SourceError(Trouble.UNSUPPORTED, f"{what}: {files.unsized}")
    return Preset(
        name=what.rpartition("/")[2].lower(),
        family=FAMILY,
        model_id=what,
        licence="as its owner says",
        token_limit=config.token_limit,
        unasked_token_limit=config.unasked_token_limit,
        dtype=config.dtype,
        weights_bytes=files.weight_bytes,
        architecture=config.architecture,
        quantisation=config.quantisation,
        revision=files.revision,
        tensors=files.tensors,
        sources=(f"{files.source} @ {files.revision}",),
    )
