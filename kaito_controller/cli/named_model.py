"""The model that a user names: one of the catalogue, or any whose files can be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from attrs import frozen

from kaito_controller.catalog.loader import Catalog, UnknownPreset
from kaito_controller.catalog.model import EngineDevice, EngineName, Preset, Runtime
from kaito_controller.cli.bad_input import BadInputError

if TYPE_CHECKING:
    from kaito_controller.sources.model_files import ModelFiles

FIRST: Final = "vllm-cuda"
"""The runtime that is used wherever it can be."""
FOLDERS: Final = ("/", "./", "../", "~")
SCHEMES: Final = "oci://"


@frozen(kw_only=True)
class NamedModel:
    """A model, the runtimes that may serve it, the preferred one first, and remarks for whoever named it."""

    preset: Preset
    runtimes: tuple[Runtime, ...]
    notes: tuple[str, ...] = ()


def find_model(name: str, catalog: Catalog, *, revision: str | None = None) -> NamedModel:
    """The preset of a name; without one, the model of a folder, a hub or a registry.

    Raises:
        BadInputError: there is no such model, its files cannot be read, or no runtime serves it.
    """
    if not _is_path(name):
        try:
            preset = catalog.preset(name)
        except UnknownPreset as error:
            if "/" not in name:
                raise BadInputError(f"{error}. For a model of a hub give ORG/NAME, for a folder ./FOLDER") from error
        else:
            if revision is None:
                return NamedModel(preset=preset, runtimes=cuda_runtimes(catalog), notes=_gated(preset))
            name = preset.model_id
    return _read(_at_revision(name, revision), cuda_runtimes(catalog))


def cuda_runtimes(catalog: Catalog) -> tuple[Runtime, ...]:
    """The runtimes with vLLM for NVIDIA's GPUs: the newest engine first."""
    vllm = (runtime for runtime in catalog.runtimes if runtime.engine is EngineName.VLLM)
    found = [runtime for runtime in vllm if runtime.accelerator.device is EngineDevice.CUDA]
    return tuple(sorted(found, key=lambda runtime: (runtime.name != FIRST, runtime.name)))


def _is_path(name: str) -> bool:
    return name.startswith(FOLDERS) or name in {".", ".."}


def _at_revision(name: str, revision: str | None) -> str:
    if revision is None:
        return name
    if _is_path(name) or name.startswith(SCHEMES) or "@" in name:
        raise BadInputError(
            f"--revision: is for a model of a hub, given as ORG/NAME; found {name[:80]!r}: leave it out"
        )
    return f"{name}@{revision}"


def _gated(preset: Preset) -> tuple[str, ...]:
    if not preset.gated:
        return ()
    return (f"{preset.model_id} is gated: accept its licence on the hub and give the engine a token",)


def _read(reference: str, runtimes: Sequence[Runtime]) -> NamedModel:
    # What reads from servers takes as long to import as a plan takes, and a preset needs none of it.
    import asyncio

    from kaito_controller.catalog.config_json.values import ConfigProblem
    from kaito_controller.sources.errors import SourceError
    from kaito_controller.sources.once import read_once

    try:
        files = asyncio.run(read_once(reference, os.environ))
        return _model(files, runtimes)
    except SourceError as error:
        raise BadInputError(str(error)) from error
    except ConfigProblem as error:
        raise BadInputError(f"{reference}: {error}") from error


def _model(files: ModelFiles, runtimes: Sequence[Runtime]) -> NamedModel:
    from kaito_controller.sources.described import architectures, config_of, preset_of

    served, architecture = _serving(files.model_id, architectures(config_of(files)), runtimes)
    notes = (files.unsized,) if files.unsized else ()
    return NamedModel(preset=preset_of(files, architecture), runtimes=served, notes=notes)


def _serving(model_id: str, names: Sequence[str], runtimes: Sequence[Runtime]) -> tuple[tuple[Runtime, ...], str]:
    """The runtimes whose engine has the model's architecture, as far as that is listed, and its name.

    An engine that nobody has listed is taken to have what the listed ones have.
    """
    from kaito_controller.catalog.engines import PINNED, UnsupportedArchitectureError, load_engine

    served: dict[str, str] = {}
    refusal: UnsupportedArchitectureError | None = None
    unlisted = []
    for runtime in runtimes:
        try:
            served[runtime.name] = load_engine(runtime.engine_version or PINNED).architecture(names)
        except UnsupportedArchitectureError as error:
            refusal = refusal or error
        except LookupError:
            unlisted.append(runtime.name)
    if not served:
        raise BadInputError(f"{model_id}: {refusal or 'no engine is listed in the catalogue'}")
    return tuple(one for one in runtimes if one.name in served or one.name in unlisted), next(iter(served.values()))
