"""Reading the metadata of an object as decoded from JSON; nothing here changes what it reads."""

from __future__ import annotations as _annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
"""An object as decoded JSON. Once in a store it is read-only by agreement."""

_NOTHING: Mapping[str, Any] = {}


def metadata(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object's `metadata`; empty when absent."""
    return obj.get("metadata") or _NOTHING


def name(obj: Mapping[str, Any]) -> str:
    """The object's name; empty when it has none."""
    return str(metadata(obj).get("name") or "")


def namespace(obj: Mapping[str, Any]) -> str:
    """The object's namespace; empty when it is cluster-scoped."""
    return str(metadata(obj).get("namespace") or "")


def key(obj: Mapping[str, Any]) -> str:
    """`namespace/name`, or `name` of a cluster-scoped object: the identity used by stores and queues."""
    space = namespace(obj)
    return f"{space}/{name(obj)}" if space else name(obj)


def split_key(key: str) -> tuple[str, str]:
    """`(namespace, name)` of a key; the namespace is empty for a cluster-scoped object.

    Raises:
        ValueError: there is more than one slash.
    """
    space, _, last = key.rpartition("/")
    if "/" in space:
        raise ValueError(f"key: must be namespace/name or name; found {key!r} with more than one slash")
    return space, last


def uid(obj: Mapping[str, Any]) -> str:
    """The UID that the API server gave; empty before that."""
    return str(metadata(obj).get("uid") or "")


def labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """The object's labels; empty when it has none."""
    return metadata(obj).get("labels") or _NOTHING


def annotations(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """The object's annotations; empty when it has none."""
    return metadata(obj).get("annotations") or _NOTHING


def finalizers(obj: Mapping[str, Any]) -> Sequence[str]:
    """The object's finalizers in their order; empty when it has none."""
    return metadata(obj).get("finalizers") or ()


def resource_version(obj: Mapping[str, Any]) -> str:
    """The opaque version of the object (of a list: of the list); empty when unknown."""
    return str(metadata(obj).get("resourceVersion") or "")


def generation(obj: Mapping[str, Any]) -> int:
    """The generation of the desired state; 0 for kinds that do not count it."""
    return int(metadata(obj).get("generation") or 0)


def creation_timestamp(obj: Mapping[str, Any]) -> str:
    """When the API server created it, RFC 3339; empty before that."""
    return str(metadata(obj).get("creationTimestamp") or "")


def deletion_timestamp(obj: Mapping[str, Any]) -> str | None:
    """When deletion was asked for (plus grace), RFC 3339; None while nobody asked."""
    return metadata(obj).get("deletionTimestamp")


def is_deleting(obj: Mapping[str, Any]) -> bool:
    """Whether somebody asked for its deletion and finalizers or grace keep it."""
    return deletion_timestamp(obj) is not None


def owner_references(obj: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The object's owners; empty when it has none."""
    return metadata(obj).get("ownerReferences") or ()


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The one owner reference marked as controller, or None."""
    for reference in owner_references(obj):
        if reference.get("controller"):
            return reference
    return None
