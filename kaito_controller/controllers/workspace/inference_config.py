"""The ConfigMap of ``inference.config``: what the plan must know of it. Pure."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from attrs import field, frozen
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from inference_server import contract
from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.flags import EngineFlags, FlagProblem, read_flags

TEXT_LIMIT: Final = 64 * 1024
"""Characters; a page of flags has a few hundred, and a parser in Python would keep the operator busy with a million."""


@frozen(kw_only=True)
class InferenceConfig:
    """What a user's configuration decides beforehand: the engine's flags; its digest restarts pods."""

    flags: EngineFlags = field(factory=EngineFlags)
    digest: str = ""


def read_config(workspace: Workspace, config_map: Object | None) -> InferenceConfig | Blocked:
    """Return what ``inference.config`` says, or why it cannot be used."""
    name = workspace.inference.config if workspace.inference else ""
    if not name:
        return InferenceConfig()
    where = f"inference.config: ConfigMap {workspace.metadata.namespace}/{name}"
    if config_map is None:
        message = f"{where} does not exist. Create it with the key {contract.CONFIG_FILE_NAME}, or leave the field out."
        return Blocked(reason=Reason.CONFIG_MAP_NOT_FOUND, message=message)
    data = config_map.get("data")
    data = data if isinstance(data, Mapping) else {}
    text = data.get(contract.CONFIG_FILE_NAME)
    if not isinstance(text, str):
        found = ", ".join(sorted(data)) or "no key at all"
        return _invalid(f"{where} must have the key {contract.CONFIG_FILE_NAME}, found {found}.")
    document = _loaded(text, f"{where}, key {contract.CONFIG_FILE_NAME}")
    if isinstance(document, Blocked):
        return document
    section = document.get(contract.CONFIG_SECTION) if isinstance(document, Mapping) else None
    if section is not None and not isinstance(section, Mapping):
        return _invalid(f"{where}: {contract.CONFIG_SECTION} must be a map of engine flags, found {_shown(section)}.")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _with_flags(section or {}, where, digest)


@lru_cache(maxsize=64)
def _loaded(text: str, where: str) -> Any:
    """Return the document that a text of anybody's is, or why it is none."""
    if len(text) > TEXT_LIMIT:
        return _invalid(f"{where}: must have at most {TEXT_LIMIT} characters, found {len(text)}.")
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        return _invalid(f"{where}: must be YAML, line {line}: {_first_line(error)}.")
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # What has the form of YAML may still be no value: a 99th month, a key that is a map, a thousand brackets.
        return _invalid(f"{where}: cannot be read as YAML: {_first_line(error)}.")


def _with_flags(section: Mapping[str, Any], where: str, digest: str) -> InferenceConfig | Blocked:
    # Anchors can make a value of a few lines print as gigabytes, so whatever is no single word is shortened first.
    plain = {name: value if isinstance(value, int | float | str) else _shown(value) for name, value in section.items()}
    try:
        return InferenceConfig(flags=read_flags(plain), digest=digest)
    except FlagProblem as problem:
        return _invalid(f"{where}: vllm.{problem}.")


def _shown(found: Any) -> str:
    """A value as a message may show it."""
    shortened = reprlib.Repr()
    shortened.maxlevel = 2
    return shortened.repr(found)


def _invalid(message: str) -> Blocked:
    return Blocked(reason=Reason.CONFIG_INVALID, message=f"{message} Correct the ConfigMap.")


def _first_line(error: Exception) -> str:
    return next(iter(str(getattr(error, "problem", None) or error).splitlines()), type(error).__name__)[:200]
