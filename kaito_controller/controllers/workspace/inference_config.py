"""The ConfigMap of ``inference.config``: what the plan must know of it. Pure."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from attrs import frozen
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from inference_server import contract
from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object

TEXT_LIMIT: Final = 64 * 1024
"""Characters; a page of flags has a few hundred, and a parser in Python would keep the operator busy with a million."""
LARGEST_CONTEXT: Final = 10**9
"""Tokens; no model comes near, and arithmetic beyond it is a way to keep the operator busy."""


@frozen(kw_only=True)
class InferenceConfig:
    """What a user's configuration decides beforehand: the context length; its digest restarts pods."""

    max_model_len: int | None = None
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
    text = (config_map.get("data") or {}).get(contract.CONFIG_FILE_NAME)
    if text is None:
        found = ", ".join(sorted(config_map.get("data") or {})) or "no key at all"
        return _invalid(f"{where} must have the key {contract.CONFIG_FILE_NAME}, found {found}.")
    document = _loaded(text, f"{where}, key {contract.CONFIG_FILE_NAME}")
    if isinstance(document, Blocked):
        return document
    section = document.get(contract.CONFIG_SECTION) if isinstance(document, Mapping) else None
    if section is not None and not isinstance(section, Mapping):
        return _invalid(f"{where}: {contract.CONFIG_SECTION} must be a map of engine flags, found {_shown(section)}.")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _with_context(section or {}, where, digest)


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


def _with_context(section: Mapping[str, Any], where: str, digest: str) -> InferenceConfig | Blocked:
    found = section.get("max-model-len", section.get("max_model_len"))
    if found is None or found == contract.MAX_MODEL_LEN_AUTO:
        return InferenceConfig(digest=digest)
    length = _whole_number(found)
    if length is None:
        return _invalid(f"{where}: vllm.max-model-len must be a whole number above zero, found {_shown(found)}.")
    if length > LARGEST_CONTEXT:
        return _invalid(f"{where}: vllm.max-model-len must be at most {LARGEST_CONTEXT}, found {_shown(found)}.")
    return InferenceConfig(max_model_len=length, digest=digest)


def _whole_number(found: Any) -> int | None:
    """The number above zero that a YAML value or its text is, as large as it may be; None for anything else."""
    if isinstance(found, int) and not isinstance(found, bool):
        return found if found > 0 else None
    if not isinstance(found, str) or not found.isdecimal():
        return None
    # Python refuses to read thousands of digits; whatever has more digits than the largest is above it.
    digits = found.lstrip("0")
    return (int(digits) if len(digits) <= len(str(LARGEST_CONTEXT)) else LARGEST_CONTEXT + 1) if digits else None


def _shown(found: Any) -> str:
    """A value as a message may show it: anchors can make one of a few lines print as gigabytes."""
    shortened = reprlib.Repr()
    shortened.maxlevel = 2
    return shortened.repr(found)


def _invalid(message: str) -> Blocked:
    return Blocked(reason=Reason.CONFIG_INVALID, message=f"{message} Correct the ConfigMap.")


def _first_line(error: Exception) -> str:
    return next(iter(str(getattr(error, "problem", None) or error).splitlines()), type(error).__name__)[:200]
