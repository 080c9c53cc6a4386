"""Owner references: who is garbage-collected with whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaito_controller.kube import metadata
from kaito_controller.kube.resource import Resource


def owner_reference(resource: Resource, obj: Mapping[str, Any], controller: bool = True) -> dict[str, Any]:
    """The reference that makes `obj`, of kind `resource`, the owner of whatever carries it.

    Raises:
        ValueError: the owner has no UID yet, so nothing can be owned by it.
    """
    uid = metadata.uid(obj)
    if not uid:
        name = f"{resource.kind} {metadata.key(obj)!r}"
        raise ValueError(f"metadata.uid of {name}: an owner needs the UID that the API server gave; found none")
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": metadata.name(obj),
        "uid": uid,
        "controller": controller,
        "blockOwnerDeletion": controller,
    }


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether the controller reference of `obj` points at this very `owner` (same UID, not merely same name)."""
    reference = metadata.controller_of(obj)
    return reference is not None and bool(metadata.uid(owner)) and reference.get("uid") == metadata.uid(owner)
