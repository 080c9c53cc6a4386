"""The ConfigMap of ``inference.config`` or ``tuning.config`` as a document: bounded, plain data. Pure."""

from __future__ import annotations

import hashlib
import reprlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from attrs import frozen
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object

TEXT_LIMIT: Final = 64 * 1024
"""Characters; a page of options has a few hundred, and a parser in Python would be busy with a million for long."""


@frozen(kw_only=True)
class Document:
    """What a user wrote: the decoded YAML, the digest of its text, and the words that name it in a message."""

    content: Any
    digest: str
    where: str


def read_document(workspace: Workspace, config_map: Object | None, key: str) -> Document | Blocked | None:
    """Return the document under a key, or why there is none; None where the Workspace names no ConfigMap."""
    if not workspace.config:
        return None
    where = f"{workspace.purpose}.config: ConfigMap {workspace.metadata.namespace}/{workspace.config}"
    if config_map is None:
        message = f"{where} does not exist. Create it with the key {key}, or leave the field out."
        return Blocked(reason=Reason.CONFIG_MAP_NOT_FOUND, message=message)
    data = config_map.get("data")
    data = data if isinstance(data, Mapping) else {}
    text = data.get(key)
    if not isinstance(text, str):
        found = ", ".join(sorted(data)) or "no key at all"
        return invalid(f"{where} must have the key {key}, found {found}.")
    content = _loaded(text, f"{where}, key {key}")
    if isinstance(content, Blocked):
        return content
    return Document(content=content, digest=hashlib.sha256(text.encode()).hexdigest()[:16], where=where)


def shown(found: Any) -> str:
    """A value as a message may show it: anchors can make one of a few lines print as gigabytes."""
    shortened = reprlib.Repr()
    shortened.maxlevel = 2
    return shortened.repr(found)


def invalid(message: str) -> Blocked:
    """Why a document cannot be used."""
    return Blocked(reason=Reason.CONFIG_INVALID, message=f"{message} Correct the ConfigMap.")


@lru_cache(maxsize=64)
def _loaded(text: str, where: str) -> Any:
    """Return the document that a text of anybody's is, or why it is none."""
    if len(text) > TEXT_LIMIT:
        return invalid(f"{where}: must have at most {TEXT_LIMIT} characters, found {len(text)}.")
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        return invalid(f"{where}: must be YAML, line {line}: {_first_line(error)}.")
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # What has the form of YAML may still be no value: a 99th month, a key that is a map, a thousand brackets.
        return invalid(f"{where}: cannot be read as YAML: {_first_line(error)}.")


def _first_line(error: Exception) -> str:
    return next(iter(str(getattr(error, "problem", None) or error).splitlines()), type(error).__name__)[:200]
