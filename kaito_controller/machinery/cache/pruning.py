"""Transforms that keep of each object what somebody reads: most of a Pod or Node is for others."""

from __future__ import annotations

from typing import Any

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.transform import Transform, strip

_ALWAYS = ("apiVersion", "kind", "metadata")
_Tree = dict[str, "_Tree"]


def keeping(*paths: str) -> Transform:
    """A transform that keeps `metadata` (see `strip`) and the fields at these dotted paths, such as `spec.nodeName`.

    A value that is no object, where the path goes on, is kept as it is: it is for the readers to say that it is unfit.
    """
    wanted: _Tree = {name: {} for name in _ALWAYS}
    for path in paths:
        level = wanted
        for name in path.split("."):
            level = level.setdefault(name, {})

    def prune(obj: Object) -> Object:
        kept: Object = _kept(strip(obj), wanted)
        return kept

    return prune


def _kept(value: Any, wanted: _Tree) -> Any:
    if not wanted or not isinstance(value, dict):
        return value
    return {name: _kept(value[name], inner) for name, inner in wanted.items() if name in value}
