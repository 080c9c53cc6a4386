"""Taints and tolerations as decoded JSON: what equals what, what tolerates what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Taint = Mapping[str, Any]


def same(one: Taint, other: Taint) -> bool:
    """Whether two taints are one in the API's sense: key and effect; the value may be updated."""
    return one.get("key") == other.get("key") and one.get("effect") == other.get("effect")


def has(taints: Iterable[Taint], wanted: Taint) -> bool:
    """Whether a taint of that key and effect is among them."""
    return any(same(taint, wanted) for taint in taints)


def merged(taints: Sequence[Taint], wanted: Iterable[Taint]) -> list[Taint]:
    """The taints with those wanted that are missing; what is already there keeps its value and place."""
    result = list(taints)
    for taint in wanted:
        if not has(result, taint):
            result.append(taint)
    return result


def without(taints: Sequence[Taint], *unwanted: Taint) -> list[Taint]:
    """The taints except those of the given keys and effects."""
    return [taint for taint in taints if not any(same(taint, one) for one in unwanted)]


def tolerates(tolerations: Iterable[Mapping[str, Any]], taint: Taint) -> bool:
    """Whether one of a pod's tolerations covers the taint, by the scheduler's rules (Exists, Equal; empty = any)."""
    return any(_covers(toleration, taint) for toleration in tolerations)


def _covers(toleration: Mapping[str, Any], taint: Taint) -> bool:
    effect = toleration.get("effect")
    if effect and effect != taint.get("effect"):
        return False
    key = toleration.get("key")
    if key and key != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def shown(taint: Taint) -> str:
    """A taint as kubectl writes it: ``key=value:Effect``."""
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key')}{value}:{taint.get('effect')}"
