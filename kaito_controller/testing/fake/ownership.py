"""Who owns which field: the `managedFields` of an object after a write, and conflicts of server-side apply.

The rules are those of structured-merge-diff (kubernetes-sigs), which a kube-apiserver uses: an update takes what it
changes; an apply claims what it names, must not change what others own, and gives up what it named before.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import evolve, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.timestamps import format_timestamp
from kaito_controller.testing.fake import fieldsets, merging, status
from kaito_controller.testing.fake.fieldsets import Fields
from kaito_controller.testing.fake.shapes import Shape
from kaito_controller.testing.fake.status import Cause

APPLY = "Apply"
UPDATE = "Update"
NOBODY = "before-first-apply"
"""Owns what was there before anybody was recorded."""

_NEVER_OWNED: Fields = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "generation",
                "managedFields",
                "resourceVersion",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            )
        ),
    }
)


@frozen(kw_only=True, order=True)
class Manager:
    """Who wrote, how, in which version and through which path."""

    operation: str
    name: str
    api_version: str
    subresource: str = ""

    @property
    def words(self) -> str:
        """As a conflict names it: the version is told for updates only."""
        words = f'"{self.name}"'
        if self.subresource:
            words += f' with subresource "{self.subresource}"'
        return words + (f" using {self.api_version}" if self.operation == UPDATE else "")


@frozen(kw_only=True)
class Ownership:
    """The fields of each manager, and when each last changed what it owns."""

    fields: Mapping[Manager, Fields] = field(factory=dict)
    times: Mapping[Manager, str] = field(factory=dict)

    @classmethod
    def of(cls, obj: Object) -> Ownership:
        """What an object's metadata says."""
        fields: dict[Manager, Fields] = {}
        times: dict[Manager, str] = {}
        for entry in obj["metadata"].get("managedFields") or ():
            manager = Manager(
                operation=entry.get("operation", ""),
                name=entry.get("manager", ""),
                api_version=entry.get("apiVersion", ""),
                subresource=entry.get("subresource", ""),
            )
            fields[manager] = fieldsets.decoded(entry.get("fieldsV1") or {})
            times[manager] = entry.get("time", "")
        return cls(fields=fields, times=times)

    def written(self) -> list[Object]:
        """The `managedFields` to store."""
        entries: list[Object] = []
        for manager, owned in self.fields.items():
            entry: Object = {
                "manager": manager.name,
                "operation": manager.operation,
                "apiVersion": manager.api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": fieldsets.encoded(owned),
            }
            optional = {"time": self.times.get(manager, ""), "subresource": manager.subresource}
            entries.append(entry | {key: value for key, value in optional.items() if value})
        return sorted(entries, key=_position)


def updated(shape: Shape, owned: Ownership, old: Object, new: Object, *, manager: Manager, now: datetime) -> Ownership:
    """After a create, an update or a patch: the writer owns what it changed, the others what is left of theirs."""
    changes = merging.difference(shape, _bare(old), _bare(new))
    changed = changes.added | changes.modified
    fields = {
        other: frozenset(paths - changed - changes.removed) for other, paths in owned.fields.items() if other != manager
    }
    mine = (set(owned.fields.get(manager, ())) - changes.removed) | changed
    fields[manager] = frozenset(mine - _NEVER_OWNED)
    times = dict(owned.times)
    if fields[manager] != owned.fields.get(manager):
        times[manager] = format_timestamp(now)
    return evolve(owned, fields={other: paths for other, paths in fields.items() if paths}, times=times)


def applied(
    shape: Shape, owned: Ownership, live: Object, config: Object, *, manager: Manager, now: datetime, force: bool
) -> tuple[Object, Ownership]:
    """After an apply: the merged object and who owns it.

    Raises:
        RefusalError: 409 when it would change what others own, and is not forced.
        DuplicateKeyError: a list names an item twice.
    """
    last = owned.fields.get(manager, fieldsets.NONE)
    claimed = merging.fields_of(shape, config)
    fields = {**owned.fields, manager: claimed}
    new = merging.merged(shape, live, config)
    new = _pruned(shape, new, fields, last) if last else new
    changes = merging.difference(shape, _bare(live), _bare(new))
    changed = changes.added | changes.modified
    others = {other: paths for other, paths in fields.items() if other != manager}
    conflicts = {other: paths & changed for other, paths in others.items() if paths & changed}
    if conflicts and not force:
        raise status.apply_conflict(_causes(conflicts))
    left = {other: frozenset(paths - changed - changes.removed) for other, paths in others.items()}
    left[manager] = claimed - _NEVER_OWNED
    # An apply that changes nothing is not dated, be it the manager's first.
    times = {**owned.times, manager: format_timestamp(now)} if _bare(new) != _bare(live) else owned.times
    return new, evolve(owned, fields={other: paths for other, paths in left.items() if paths}, times=times)


def _pruned(shape: Shape, obj: Object, fields: Mapping[Manager, Fields], last: Fields) -> Object:
    """Take out what this manager applied last time, and neither it nor anybody else names now."""
    everything = merging.with_structs(shape, obj, merging.fields_of(shape, obj))
    mine_before = merging.with_structs(shape, obj, last)
    rest = merging.without(shape, obj, mine_before) or {}
    kept = merging.with_structs(shape, rest, merging.fields_of(shape, rest))
    claimed = merging.with_structs(shape, obj, frozenset().union(*fields.values()))
    added_back = merging.without(shape, obj, everything - (kept | claimed)) or {}
    remaining = merging.with_structs(shape, added_back, merging.fields_of(shape, added_back))
    return merging.without(shape, obj, (everything - remaining) & mine_before) or {}


def _causes(conflicts: Mapping[Manager, Fields]) -> list[Cause]:
    return [
        Cause(field=fieldsets.readable(path), reason="FieldManagerConflict", message=f"conflict with {manager.words}")
        for manager in sorted(conflicts)
        for path in sorted(conflicts[manager])
    ]


def _bare(obj: Any) -> Any:
    """An object without the records of this module."""
    if not isinstance(obj, dict) or "metadata" not in obj:
        return obj
    head = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return obj | {"metadata": head}


def _position(entry: Object) -> tuple[str, str, str, str, str]:
    return (
        entry["operation"],
        entry.get("time", ""),
        entry["manager"],
        entry["apiVersion"],
        entry.get("subresource", ""),
    )
