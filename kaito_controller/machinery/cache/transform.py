"""What a cache keeps of an object: run once over each, before the store sees it (FQ5)."""

from __future__ import annotations

from collections.abc import Callable

from kaito_controller.kube.metadata import Object, key
from kaito_controller.machinery import codec

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Transform = Callable[[Object], Object]
"""Makes of an object as decoded what is kept. It may change what it is given, and must keep namespace and name."""


def strip(obj: Object) -> Object:
    """Drop what nobody here reads and what takes a third of an object: field ownership and kubectl's copy."""
    head = obj["metadata"]
    head.pop("managedFields", None)
    annotations = head.get("annotations")
    if annotations and isinstance(annotations, dict):
        annotations.pop(LAST_APPLIED, None)
    return obj


def transformed(transform: Transform, obj: Object) -> Object:
    """What is kept of an object.

    Raises:
        ValueError: it has no name, nests too deep, or the transform gave it another name.
        Exception: what the transform raised.
    """
    head = obj.get("metadata")
    if not isinstance(head, dict) or not head.get("name"):
        raise ValueError("metadata.name: required; found none")
    if codec.CUT in obj:
        raise ValueError("it nests too deep to be read")
    if transform is strip:
        return strip(obj)
    before = key(obj)
    made = transform(obj)
    if not isinstance(made, dict) or key(made) != before:
        raise ValueError(f"transform: must keep namespace and name; made something else of {before!r}")
    return made
