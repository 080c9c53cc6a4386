"""Making one object the controller of another: at most one may be, and only within reach of garbage collection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaito_controller.kube import metadata
from kaito_controller.kube.ownership import owner_reference
from kaito_controller.kube.resource import Resource


class OwnedByAnotherError(ValueError):
    """The object has another controller already."""


def set_controller_reference(
    resource: Resource, owner: Mapping[str, Any], obj: Mapping[str, Any], *, block_owner_deletion: bool = True
) -> dict[str, Any]:
    """`obj` with `owner`, of kind `resource`, as its controller; a reference to it under another version is replaced.

    Raises:
        OwnedByAnotherError: another object controls it.
        ValueError: the owner is in another namespace, or is namespaced while the object is not, so garbage collection
            would take it for gone; or the owner has no UID.
    """
    _require_reach(resource, owner, obj)
    mine = owner_reference(resource, owner) | {"blockOwnerDeletion": block_owner_deletion}
    present = metadata.controller_of(obj)
    if present is not None and not _is_same(present, mine):
        raise OwnedByAnotherError(
            f"metadata.ownerReferences of {metadata.key(obj)!r}: one controller at most; found "
            f"{present.get('kind')} {present.get('name')!r}, so {resource.kind} {metadata.name(owner)!r} cannot be one"
        )
    return {**obj, "metadata": {**metadata.metadata(obj), "ownerReferences": _upserted(obj, mine)}}


def _upserted(obj: Mapping[str, Any], mine: dict[str, Any]) -> list[Mapping[str, Any]]:
    references = list(metadata.owner_references(obj))
    for index, each in enumerate(references):
        if _is_same(each, mine):
            references[index] = mine
            return references
    return [*references, mine]


def _require_reach(resource: Resource, owner: Mapping[str, Any], obj: Mapping[str, Any]) -> None:
    space, where = metadata.namespace(owner), metadata.namespace(obj)
    if not resource.namespaced or (space and space == where):
        return
    found = f"in namespace {where!r}" if where else "cluster-scoped"
    raise ValueError(
        f"metadata.ownerReferences of {metadata.name(obj)!r}: an owner in namespace {space!r} can own objects of that "
        f"namespace only; found one that is {found}"
    )


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Same group, kind and name: the version may differ, and so may the UID of an owner that was made again."""
    return _identity(one) == _identity(other)


def _identity(reference: Mapping[str, Any]) -> tuple[str, object, object]:
    group, slash, _ = str(reference.get("apiVersion") or "").partition("/")
    return (group if slash else "", reference.get("kind"), reference.get("name"))
