"""Bringing one object to a wanted state whether it exists or not, and saying what that took (PT6)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from enum import StrEnum
from typing import Any

from kaito_controller.kube.merge_patch import same
from kaito_controller.kube.metadata import Object, key, namespace
from kaito_controller.kube.metadata import name as name_of
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.client.patch import patch_from

Mutate = Callable[[Object], None]
"""Changes an object of its own in place. It may be called again with another one, so it depends on nothing but that."""


class Outcome(StrEnum):
    """What was done; the words are controller-runtime's."""

    UNCHANGED = "unchanged"
    CREATED = "created"
    UPDATED = "updated"
    UPDATED_STATUS = "updatedStatus"
    UPDATED_STATUS_ONLY = "updatedStatusOnly"


async def create_or_update(client: Client, resource: Resource, obj: Object, mutate: Mutate) -> tuple[Outcome, Object]:
    """Read the object, or start from `obj` when there is none; change it by `mutate`, and write it if that matters.

    The update replaces the whole object as it was read, so a field that somebody changed meanwhile is a conflict.

    Raises:
        ApiError: the server refused; a conflict is for `retry_on_conflict` around this call.
        ValueError: `mutate` changed the name or the namespace.
    """
    before = await client.find(resource, name_of(obj), namespace(obj) or None)
    if before is None:
        return Outcome.CREATED, await client.create(resource, _mutated(obj, mutate))
    after = _mutated(before, mutate)
    if same(before, after):
        return Outcome.UNCHANGED, before
    return Outcome.UPDATED, await client.update(resource, after)


async def create_or_patch(client: Client, resource: Resource, obj: Object, mutate: Mutate) -> tuple[Outcome, Object]:
    """As `create_or_update`, but write only what changed, and a changed status by its subresource.

    A status that `mutate` gives to an object that does not exist yet is written by the next call: the server drops it
    from a create.

    Raises:
        ApiError: the server refused.
        ValueError: `mutate` changed the name or the namespace.
    """
    before = await client.find(resource, name_of(obj), namespace(obj) or None)
    if before is None:
        return Outcome.CREATED, await client.create(resource, _mutated(obj, mutate))
    after = _mutated(before, mutate)
    found, outcome = before, Outcome.UNCHANGED
    if not same(_body(before), _body(after)):
        found = await patch_from(client, resource, _body(before), _body(after))
        outcome = Outcome.UPDATED
    if not same(before.get("status"), after.get("status")):
        old, new = (_only_status(version) for version in (before, after))
        found = await patch_from(client, resource, old, new, subresource="status")
        outcome = Outcome.UPDATED_STATUS if outcome is Outcome.UPDATED else Outcome.UPDATED_STATUS_ONLY
    return outcome, found


def _mutated(obj: Object, mutate: Mutate) -> Object:
    changed = deepcopy(obj)
    mutate(changed)
    if key(changed) != key(obj):
        raise ValueError(
            f"metadata: a mutation may not change name and namespace; found {key(obj)!r} as {key(changed)!r}"
        )
    return changed


def _body(obj: Object) -> dict[str, Any]:
    return {name: value for name, value in obj.items() if name != "status"}


def _only_status(obj: Object) -> dict[str, Any]:
    head = {name: value for name, value in obj["metadata"].items() if name in {"name", "namespace"}}
    return {"metadata": head, "status": obj.get("status")}
