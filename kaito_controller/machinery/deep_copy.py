"""Copies of decoded JSON that share nothing with the original."""

from __future__ import annotations

import copy
import marshal

from kaito_controller.kube.metadata import Object


def deep_copy(obj: Object) -> Object:
    """A copy to change at will; through bytes, which takes a fraction of what `copy.deepcopy` takes."""
    try:
        made: Object = marshal.loads(marshal.dumps(obj))  # noqa: S302 - bytes made here, of an object in this process
    except ValueError:
        # A transform put something into the object that no JSON decoder makes.
        return copy.deepcopy(obj)
    return made
