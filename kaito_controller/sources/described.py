"""A model read from its own files, in the catalogue's terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaito_controller.catalog.config_json.values import ConfigProblem
from kaito_controller.catalog.engines import Engine, UnsupportedArchitectureError
from kaito_controller.catalog.from_files import preset_from_files
from kaito_controller.catalog.mistral_params import config_of_params
from kaito_controller.catalog.model import Preset
from kaito_controller.sources.errors import SourceError, Trouble, malformed
from kaito_controller.sources.model_files import ModelFiles


def described(files: ModelFiles, engine: Engine) -> Preset:
    """The preset that a model's own files make, for that engine.

    Raises:
        SourceError: UNSUPPORTED where the engine has no such architecture or the weights have no sizes, MALFORMED where
            a number is missing, absurd or contradicts another.
    """
    what = files.model_id
    try:
        preset = preset_of(files, engine.architecture(architectures(config_of(files))))
    except ConfigProblem as problem:
        raise malformed(f"{what}: {problem}") from problem
    except UnsupportedArchitectureError as error:
        raise SourceError(Trouble.UNSUPPORTED, f"{what}: config.json: {error}") from error
    if not files.tensors:
        raise SourceError(Trouble.UNSUPPORTED, f"{what}: {files.unsized}")
    return preset


def config_of(files: ModelFiles) -> Mapping[str, Any]:
    """The model's config.json, or its params.json in the words of one.

    Raises:
        ConfigProblem: a params.json is of a kind that is not read.
    """
    return config_of_params(files.config) if files.config is files.params else files.config


def architectures(config: Mapping[str, Any]) -> list[str]:
    """The classes that a config.json names."""
    written = config.get("architectures")
    return [name for name in written if isinstance(name, str)] if isinstance(written, list) else []


def preset_of(files: ModelFiles, architecture: str) -> Preset:
    """The preset that a model's files make when it is served as this one of its architectures.

    Raises:
        ConfigProblem: a number is missing, absurd or contradicts another.
    """
    return preset_from_files(
        files.model_id,
        {**config_of(files), "architectures": [architecture]},
        tensors=files.tensors,
        quantisation=files.quantisation,
        revision=files.revision,
        source=f"{files.source} @ {files.revision}",
    )
