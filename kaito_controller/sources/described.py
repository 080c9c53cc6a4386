"""A model read from its own files, in the catalogue's terms."""

from __future__ import annotations

from kaito_controller.catalog.config_json.values import ConfigProblem
from kaito_controller.catalog.engines import Engine, UnsupportedArchitectureError
from kaito_controller.catalog.from_files import preset_from_files
from kaito_controller.catalog.mistral_params import config_of_params
from kaito_controller.catalog.model import Preset
from kaito_controller.sources.errors import SourceError, Trouble, malformed
from kaito_controller.sources.model_files import ModelFiles


def described(files: ModelFiles, engine: Engine) -> Preset:
    """The preset that a model's own files make.

    Raises:
        SourceError: UNSUPPORTED where the engine has no such architecture or the weights have no sizes, MALFORMED where
            a number is missing, absurd or contradicts another.
    """
    what = files.model_id
    try:
        config = config_of_params(files.config) if files.config is files.params else files.config
        written = config.get("architectures")
        names = [name for name in written if isinstance(name, str)] if isinstance(written, list) else []
        preset = preset_from_files(
            what,
            {**config, "architectures": [engine.architecture(names)]},
            tensors=files.tensors,
            quantisation=files.quantisation,
            revision=files.revision,
            source=f"{files.source} @ {files.revision}",
        )
    except ConfigProblem as problem:
        raise malformed(f"{what}: {problem}") from problem
    except UnsupportedArchitectureError as error:
        raise SourceError(Trouble.UNSUPPORTED, f"{what}: config.json: {error}") from error
    if not files.tensors:
        raise SourceError(Trouble.UNSUPPORTED, f"{what}: {files.unsized}")
    return preset
