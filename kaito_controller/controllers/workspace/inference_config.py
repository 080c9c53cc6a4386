"""The ConfigMap of ``inference.config``: what the plan must know of it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from inference_server import contract
from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object


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
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        return _invalid(f"{where}, key {contract.CONFIG_FILE_NAME}: must be YAML, line {line}: {_first_line(error)}.")
    section = document.get(contract.CONFIG_SECTION) if isinstance(document, Mapping) else None
    if section is not None and not isinstance(section, Mapping):
        return _invalid(f"{where}: {contract.CONFIG_SECTION} must be a map of engine flags, found {section!r}.")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _with_context(section or {}, where, digest)


def _with_context(section: Mapping[str, Any], where: str, digest: str) -> InferenceConfig | Blocked:
    found = section.get("max-model-len", section.get("max_model_len"))
    if found is None or found == contract.MAX_MODEL_LEN_AUTO:
        return InferenceConfig(digest=digest)
    if isinstance(found, bool) or not str(found).isdecimal() or int(found) == 0:
        return _invalid(f"{where}: vllm.max-model-len must be a whole number above zero, found {found!r}.")
    return InferenceConfig(max_model_len=int(found), digest=digest)


def _invalid(message: str) -> Blocked:
    return Blocked(reason=Reason.CONFIG_INVALID, message=f"{message} Correct the ConfigMap.")


def _first_line(error: YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]
