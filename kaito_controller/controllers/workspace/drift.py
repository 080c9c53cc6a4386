"""Does a live object still say what we want? Pure; it is what keeps an idle operator from writing.

Server-side apply of an unchanged object is harmless but still a request. So every object we apply carries the hash of
what we last applied; a different hash means that what we want has changed (removals included), and a field of ours that
differs in the live object means that somebody else changed it. Fields that the API server filled in are not ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kaito_controller.kube import metadata, quantity
from kaito_controller.kube.metadata import Object

HASH_ANNOTATION: Final = "workspace.kaito.io/applied-hash"

# What tells the items of an associative list apart; a list whose items have none of these is compared as a whole.
_MERGE_KEYS: Final = ("mountPath", "name", "containerPort", "port")


def stamped(desired: Object) -> Object:
    """Return the object with the hash of itself as an annotation."""
    text = json.dumps(desired, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    meta = {**metadata.metadata(desired)}
    meta["annotations"] = {**metadata.annotations(desired), HASH_ANNOTATION: digest}
    return {**desired, "metadata": meta}


def drift(desired: Object, live: Mapping[str, Any]) -> str | None:
    """Return the path of the first field of a stamped object that the live one does not have so; None when settled."""
    wanted = metadata.annotations(desired).get(HASH_ANNOTATION)
    if metadata.annotations(live).get(HASH_ANNOTATION) != wanted:
        return f"metadata.annotations[{HASH_ANNOTATION}]"
    return _difference(desired, live, "")


def _difference(desired: Any, live: Any, path: str) -> str | None:
    # Most subtrees are the same: the interpreter finds that out many times faster than the walk below.
    if desired == live:
        return None
    if isinstance(desired, Mapping):
        return _map_difference(desired, live, path)
    if isinstance(desired, Sequence) and not isinstance(desired, str):
        return _list_difference(desired, live, path)
    return None if _same_value(desired, live) else path


def _map_difference(desired: Mapping[str, Any], live: Any, path: str) -> str | None:
    if not isinstance(live, Mapping):
        return path if desired else None
    for key, value in desired.items():
        found = _difference(value, live.get(key), f"{path}.{key}" if path else key)
        if found is not None:
            return found
    return None


def _list_difference(desired: Sequence[Any], live: Any, path: str) -> str | None:
    live = live if isinstance(live, Sequence) else ()
    key = _merge_key(desired)
    if key is None:
        if len(desired) != len(live):
            return path
        pairs = enumerate(zip(desired, live, strict=True))
        differences = (_difference(ours, theirs, f"{path}[{index}]") for index, (ours, theirs) in pairs)
        return next((found for found in differences if found is not None), None)
    by_key = {item.get(key): item for item in live if isinstance(item, Mapping)}
    for item in desired:
        found = _difference(item, by_key.get(item[key]), f"{path}[{key}={item[key]}]")
        if found is not None:
            return found
    return None


def _merge_key(items: Sequence[Any]) -> str | None:
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    return next((key for key in _MERGE_KEYS if all(key in item for item in items)), None)


def _same_value(desired: Any, live: Any) -> bool:
    """Equal, or equal to the API server: it drops empty values and rewrites quantities ("1024Mi" is "1Gi")."""
    if live is None and not desired:
        return True
    if isinstance(desired, str | int) and isinstance(live, str | int):
        try:
            return quantity.parse(desired) == quantity.parse(live)
        except ValueError:
            return False
    return False
