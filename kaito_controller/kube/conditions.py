"""Status conditions in the form of metav1.Condition, and how new ones meet those already written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import evolve, field, frozen

from kaito_controller.kube.declaration import schema
from kaito_controller.kube.timestamps import format_timestamp

TRUE = "True"
FALSE = "False"
UNKNOWN = "Unknown"


@frozen(kw_only=True)
class Condition:
    """One observation about the object, in the form shared by all Kubernetes kinds."""

    type: str = field(metadata=schema("What is observed, in CamelCase.", min_length=1, max_length=316))
    status: str = field(metadata=schema("True, False or Unknown.", enum=(TRUE, FALSE, UNKNOWN)))
    reason: str = field(default="", metadata=schema("Why, as one CamelCase word for programs.", max_length=1024))
    message: str = field(default="", metadata=schema("Why, and what to do, for people.", max_length=32768))
    last_transition_time: str = field(
        default="", metadata=schema("When the status last flipped, RFC 3339.", format="date-time", required=True)
    )
    observed_generation: int = field(
        default=0, metadata=schema("The generation of the object that this was observed of.", minimum=0)
    )


def merge(existing: Sequence[Condition], desired: Sequence[Condition], *, now: datetime) -> tuple[Condition, ...]:
    """The conditions to write: those of `desired`, with the transition time kept unless the status flips.

    Types that `desired` does not name keep what they had. Known types keep their place, new ones come after in the
    order given, so that a status that says the same compares equal.
    """
    wanted = {condition.type: condition for condition in desired}
    stamp = format_timestamp(now)
    merged = []
    for old in existing:
        new = wanted.pop(old.type, None)
        if new is None:
            merged.append(old)
        elif new.status == old.status and old.last_transition_time:
            merged.append(evolve(new, last_transition_time=old.last_transition_time))
        else:
            merged.append(_stamped(new, stamp))
    merged += [_stamped(new, stamp) for new in wanted.values()]
    return tuple(merged)


def without(conditions: Sequence[Condition], types: Iterable[str]) -> tuple[Condition, ...]:
    """The conditions except those of the given types: for types that no longer apply."""
    gone = set(types)
    return tuple(condition for condition in conditions if condition.type not in gone)


def find(conditions: Sequence[Condition], type: str) -> Condition | None:  # noqa: A002
    """The condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == type), None)


def is_true(conditions: Sequence[Condition], type: str) -> bool:  # noqa: A002
    """Whether the condition of a type is there and True."""
    return has_status(conditions, type, TRUE)


def is_false(conditions: Sequence[Condition], type: str) -> bool:  # noqa: A002
    """Whether the condition of a type is there and False."""
    return has_status(conditions, type, FALSE)


def has_status(conditions: Sequence[Condition], type: str, status: str) -> bool:  # noqa: A002
    """Whether the condition of a type is there with this status."""
    found = find(conditions, type)
    return found is not None and found.status == status


def condition_of(obj: Mapping[str, Any], type: str) -> Mapping[str, Any] | None:  # noqa: A002
    """The condition of a type in the status of an object as decoded from JSON, or None."""
    conditions: Sequence[Mapping[str, Any]] = (obj.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == type), None)


def status_of(obj: Mapping[str, Any], type: str) -> str:  # noqa: A002
    """The status of that condition; empty when it is not there."""
    found = condition_of(obj, type)
    return str(found.get("status") or "") if found else ""


def _stamped(condition: Condition, stamp: str) -> Condition:
    """A time that the caller gave with a new or flipped condition is kept (a claim's creation time, for one)."""
    return condition if condition.last_transition_time else evolve(condition, last_transition_time=stamp)
