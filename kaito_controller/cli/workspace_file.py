"""A file with a Workspace, and its ConfigMap beside it: what a cluster would be asked for, without one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kaito_controller.api.workspace import Workspace
from kaito_controller.cli.bad_input import BadInputError
from kaito_controller.controllers.workspace.adapter_room import wanted_room, with_room
from kaito_controller.controllers.workspace.inference_config import read_config
from kaito_controller.controllers.workspace.policies import examine
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube import metadata, serde
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.workloads.adapters import AdapterRoom

LIMIT_BYTES: Final = 2**20
"""An API server takes no larger object; a parser in Python would be busy for half a minute with it."""
STANDARD_INPUT: Final = "-"
UNKNOWN_UID: Final = "00000000-0000-0000-0000-000000000000"


@frozen(kw_only=True)
class WorkspaceFile:
    """A Workspace that keeps all rules, what its configuration says to the engine, and its pods' room for adapters."""

    workspace: Workspace
    flags: EngineFlags
    room: AdapterRoom | None = None

    @property
    def model(self) -> str:
        """The preset's name, or the model's id."""
        return self.workspace.preset.name if self.workspace.preset is not None else ""


def read_workspace(name: str) -> WorkspaceFile:
    """The first Workspace of a file.

    Raises:
        BadInputError: the file cannot be read, holds none, or the Workspace or its configuration breaks a rule.
    """
    documents = _documents(name)
    raw = _workspace_among(documents, name)
    snapshot = _snapshot(raw, documents)
    workspace = _allowed(examine(snapshot, provisions=True))
    if workspace.tuning is not None:
        raise BadInputError(
            f"{name}: holds a Workspace that tunes, and plan explains how a model is served: apply it, and read its "
            "status.plan, or give one with inference."
        )
    config = _allowed(read_config(workspace, snapshot.config))
    room = wanted_room(workspace, config, snapshot)
    return WorkspaceFile(workspace=workspace, flags=with_room(config.flags, room), room=room)


def _documents(name: str) -> list[Object]:
    try:
        found = list(YAML(typ="safe", pure=True).load_all(_text(name)))
    except OSError as error:
        raise BadInputError(f"{name}: cannot be read ({error.strerror}).") from error
    except (YAMLError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # What has the form of YAML may still be no value: a 99th month, a key that is a map, a thousand brackets.
        raise BadInputError(f"{name}: must be YAML ({' '.join(str(error).split())[:200]}).") from error
    return [document for document in found if isinstance(document, dict)]


def _text(name: str) -> str:
    if name == STANDARD_INPUT:
        raw = sys.stdin.buffer.read(LIMIT_BYTES + 1)
    else:
        with Path(name).open("rb") as file:
            raw = file.read(LIMIT_BYTES + 1)
    if len(raw) > LIMIT_BYTES:
        raise BadInputError(f"{name}: must have at most {LIMIT_BYTES} bytes; it has more.")
    return raw.decode("utf-8")


def _workspace_among(documents: Iterable[Object], name: str) -> Object:
    """The first Workspace, with what a cluster would give it."""
    for document in documents:
        if document.get("kind") == "Workspace":
            given = document.get("metadata") or {}
            if not isinstance(given, Mapping):
                raise BadInputError(f"{name}: metadata: must be a map, found {str(given)[:40]!r}.")
            return {**document, "metadata": {"namespace": "default", "uid": UNKNOWN_UID, **given}}
    raise BadInputError(f"{name}: holds no Workspace.")


def _snapshot(raw: Object, documents: Iterable[Object]) -> Snapshot:
    """What would be gathered if the file were applied."""
    try:
        workspace = serde.structure(Workspace, raw)
    except serde.SerdeError as error:
        return Snapshot(raw=raw, workspace=None, malformed=str(error))
    maps = (one for one in documents if one.get("kind") == "ConfigMap" and _name(one) == workspace.config)
    return Snapshot(raw=raw, workspace=workspace, config=_of_texts(next(maps, None)))


def _of_texts(config_map: Object | None) -> Object | None:
    """A ConfigMap that an API server would take."""
    data = (config_map or {}).get("data") or {}
    if not isinstance(data, Mapping) or not all(isinstance(value, str) for value in data.values()):
        rule = "data: must be a map of texts: write a | behind each key, and what belongs to it below"
        raise BadInputError(f"ConfigMap {_name(config_map or {})}: {rule}.")
    return config_map


def _name(document: Object) -> str:
    return metadata.name(document) if isinstance(document.get("metadata"), Mapping) else ""


def _allowed(found: Any) -> Any:
    if isinstance(found, Blocked):
        raise BadInputError(f"{found.reason}: {found.message}")
    return found
