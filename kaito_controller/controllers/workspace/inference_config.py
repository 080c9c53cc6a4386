"""The ConfigMap of ``inference.config``: what the plan must know of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from inference_server import contract
from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.config_map import invalid, read_document, shown
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.flags import EngineFlags, FlagProblem, read_flags


@frozen(kw_only=True)
class InferenceConfig:
    """What a user's configuration decides beforehand: the engine's flags; its digest restarts pods.

    ``names`` are the options that it sets, with underscores: a flag may be set to what it is by itself.
    `trusts_code` says that the model's own Python files are to be fetched and run.
    """

    flags: EngineFlags = field(factory=EngineFlags)
    digest: str = ""
    names: frozenset[str] = frozenset()
    trusts_code: bool = False


def read_config(workspace: Workspace, config_map: Object | None) -> InferenceConfig | Blocked:
    """Return what ``inference.config`` says, or why it cannot be used."""
    document = read_document(workspace, config_map, contract.CONFIG_FILE_NAME)
    if document is None:
        return InferenceConfig()
    if isinstance(document, Blocked):
        return document
    content, where = document.content, document.where
    section = content.get(contract.CONFIG_SECTION) if isinstance(content, Mapping) else None
    if section is not None and not isinstance(section, Mapping):
        return invalid(f"{where}: {contract.CONFIG_SECTION} must be a map of engine flags, found {shown(section)}.")
    return _with_flags(section or {}, where, document.digest)


def _with_flags(section: Mapping[str, Any], where: str, digest: str) -> InferenceConfig | Blocked:
    # Anchors can make a value of a few lines print as gigabytes, so whatever is no single word is shortened first.
    plain = {name: value if isinstance(value, int | float | str) else shown(value) for name, value in section.items()}
    try:
        names = frozenset(str(name).strip("-").replace("-", "_") for name in section)
        return InferenceConfig(flags=read_flags(plain), digest=digest, names=names, trusts_code=_trusts_code(plain))
    except FlagProblem as problem:
        return invalid(f"{where}: vllm.{problem}.")


def _trusts_code(section: Mapping[str, Any]) -> bool:
    names = {str(name).strip("-").replace("_", "-"): value for name, value in section.items()}
    return str(names.get("trust-remote-code", "")).lower() == "true"
