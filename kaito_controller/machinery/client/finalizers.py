"""Finalizers that stand on an object while it lives, and run before it may go (PT8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import deepcopy

from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object, finalizers, is_deleting, key, resource_version
from kaito_controller.kube.metadata import name as name_of
from kaito_controller.kube.metadata import namespace as namespace_of
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.client.patch import patch_from
from kaito_controller.machinery.errors import is_not_found


def with_finalizers(obj: Object, *wanted: str) -> Object:
    """What the metadata of a merge patch says to put finalizers on an object; empty when they are there (PT8).

    It can go into one patch with more. It replaces the whole list, so it holds the resourceVersion: whoever added
    another one meanwhile makes it a conflict.

    Raises:
        ValueError: the object was never read from a server.
    """
    present = finalizers(obj)
    missing = [one for one in wanted if one not in present]
    return _replacement(obj, [*present, *missing]) if missing else {}


def without_finalizers(obj: Object, *unwanted: str) -> Object:
    """The same to take finalizers off; empty when none of them is there."""
    present = finalizers(obj)
    kept = [one for one in present if one not in unwanted]
    return _replacement(obj, kept) if len(kept) < len(present) else {}


def _replacement(obj: Object, wanted: list[str]) -> Object:
    version = resource_version(obj)
    if not version:
        raise ValueError(f"metadata.resourceVersion of {key(obj)!r}: a list of finalizers needs it; found none")
    return {"finalizers": wanted, "resourceVersion": version}


Finalizer = Callable[[Object], Awaitable[None]]
"""Undoes what was done for an object that is going. It may change the status of the object it is handed."""


class FinalizeError(Exception):
    """Some finalizers failed and stay on the object; the first failure is the cause."""


@frozen(kw_only=True)
class Finalized:
    """What running the finalizers came to.

    Attributes:
        obj: the object as it should be now.
        updated: its metadata has to be written.
        status_updated: its status has to be written.
        errors: per finalizer that failed, why.
    """

    obj: Object
    updated: bool
    status_updated: bool
    errors: dict[str, Exception]


@define
class FinalizerSet:
    """Finalizers by their keys, in the order of registration."""

    _finalizers: dict[str, Finalizer] = field(init=False, factory=dict)

    def register(self, name: str, finalizer: Finalizer) -> None:
        """Add one.

        Raises:
            ValueError: the key is no qualified name, or taken.
        """
        if "/" not in name:
            raise ValueError(f"finalizer {name!r}: must be a qualified name such as example.com/cleanup")
        if name in self._finalizers:
            raise ValueError(f"finalizer {name!r}: is registered already")
        self._finalizers[name] = finalizer

    async def finalize(self, obj: Object) -> Finalized:
        """Add what is missing to an object that lives; run and remove what stands on one that goes.

        A finalizer that fails stays, without stopping the others; a status that it changed counts all the same.
        """
        changed = deepcopy(obj)
        errors: dict[str, Exception] = {}
        kept = list(finalizers(obj))
        for name, finalizer in self._finalizers.items():
            if is_deleting(obj) is not (name in kept):
                continue
            if not is_deleting(obj):
                kept.append(name)
                continue
            try:
                await finalizer(changed)
            except Exception as error:  # noqa: BLE001 - each has its own work to undo
                errors[name] = error
            else:
                kept.remove(name)
        updated = kept != list(finalizers(obj))
        if updated:
            changed["metadata"]["finalizers"] = kept
        status_updated = changed.get("status") != obj.get("status")
        return Finalized(obj=changed, updated=updated, status_updated=status_updated, errors=errors)

    async def reconcile(self, client: Client, resource: Resource, obj: Object) -> Object | None:
        """Finalize and write the outcome: the status first, since the last finalizer takes the object with it.

        Returns the object as it is now; None when it is gone.

        Raises:
            FinalizeError: some finalizers failed; what the others came to is written.
            ApiError: the server refused a write; a conflict says that the object changed since it was read.
        """
        done = await self.finalize(obj)
        try:
            found = await _write(client, resource, obj, done)
        except Exception as error:
            if not is_not_found(error):
                raise
            found = None
        if done.errors:
            words = "; ".join(f"{name}: {error}" for name, error in done.errors.items())
            first = next(iter(done.errors.values()))
            raise FinalizeError(f"{resource.kind} {key(obj)!r}: finalizers failed: {words}") from first
        return found


async def _write(client: Client, resource: Resource, obj: Object, done: Finalized) -> Object:
    found = obj
    if done.status_updated:
        with_status = {**obj, "status": done.obj.get("status")}
        found = await patch_from(client, resource, obj, with_status, subresource="status", optimistic_lock=True)
    if done.updated:
        patch = {"metadata": _replacement(found, list(finalizers(done.obj)))}
        found = await client.merge_patch(resource, name_of(obj), namespace_of(obj) or None, patch)
    return found
