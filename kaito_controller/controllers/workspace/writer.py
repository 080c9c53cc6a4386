"""The one writer of child objects: created where there is none, else applied, and never over a stranger's.

An apply alone would do, were it not for strangers: it merges into whatever has the name. So what our caches do not show
is created, which the API server refuses when anything is there, and only what is known to be ours is applied over.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.controllers.workspace.drift import drift
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.cached_client import CachedClient
from kaito_controller.machinery.client.apply import Applier, as_applied
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError, is_already_exists, is_forbidden, is_invalid

FIELD_MANAGER: Final = "kaito-controller"

# How the API server refuses a change of a StatefulSet's immutable fields; the text is part of its validation.
_IMMUTABLE: Final = "updates to statefulset spec for fields other than"


class Done(StrEnum):
    """What became of an object that was to be applied."""

    SETTLED = "settled"
    CREATED = "created"
    UPDATED = "updated"
    RECREATED = "recreated"
    WAITS = "waits"


class Writer:
    """Applies and deletes, and tells the cache of each write so that nobody decides on what was before it."""

    def __init__(self, client: Client, cache: Cache) -> None:
        self._client = client
        self._noted = CachedClient(cache)
        self._applier = Applier(client=self._noted, field_manager=FIELD_MANAGER)

    async def ensure(self, resource: Resource, desired: Object, live: Object | None) -> Done:
        """Bring a child of a Workspace to what is desired.

        Raises `Conflict` when an object of that name belongs to somebody else, `ApiError` when the server refuses.
        """
        if live is None:
            if await self.create(resource, desired):
                return Done.CREATED
            # Anybody's, since our caches hold only labelled objects; or ours, and the cache is late.
            live = await self._read(resource, desired)
        if not _same_controller(live, desired):
            raise Conflict(resource, live)
        if metadata.is_deleting(live):
            return Done.WAITS
        if drift(desired, live) is None:
            return Done.SETTLED
        try:
            await self._update(resource, desired)
        except ApiError as error:
            if not is_invalid(error) or _IMMUTABLE not in error.message:
                raise
            await self.delete(resource, live)
            return Done.RECREATED
        return Done.UPDATED

    async def keep(
        self, resource: Resource, desired: Object, live: Object | None, is_same: Callable[[Object], bool]
    ) -> Done:
        """Have a child that is never changed: one that is not the same is deleted, to be made anew when it is gone.

        Raises as `ensure` does.
        """
        if live is None:
            if await self.create(resource, desired):
                return Done.CREATED
            live = await self._read(resource, desired)
        if not _same_controller(live, desired):
            raise Conflict(resource, live)
        if metadata.is_deleting(live):
            return Done.WAITS
        if is_same(live):
            return Done.SETTLED
        await self.delete(resource, live)
        return Done.RECREATED

    async def create(self, resource: Resource, desired: Object) -> bool:
        """Make an object; False when there is one of that name, which is left alone whosever it is."""
        try:
            await self._applier.create(resource, desired)
        except ApiError as error:
            if is_already_exists(error):
                return False
            raise
        return True

    async def apply(self, resource: Resource, desired: Object) -> Object:
        """Own exactly the fields of an object."""
        return await self._applier.apply(resource, desired, force=True)

    async def patch(self, raw: Object, patch: Object, *, subresource: str = "") -> Object:
        """Merge into a Workspace."""
        return await self._noted.merge_patch(
            WORKSPACES, metadata.name(raw), metadata.namespace(raw), patch, subresource=subresource
        )

    async def delete(self, resource: Resource, live: Object) -> None:
        """Delete this very object (by UID); one that is gone or was replaced meanwhile is fine."""
        await self._client.delete_exactly(resource, live)

    async def _update(self, resource: Resource, desired: Object) -> None:
        """Own exactly the fields of an object that `create` may have made."""
        patch = as_applied(await self._read(resource, desired), FIELD_MANAGER)
        if patch:
            await self._noted.merge_patch(resource, metadata.name(desired), metadata.namespace(desired), patch)
        await self.apply(resource, desired)

    async def _read(self, resource: Resource, desired: Object) -> Object:
        """The object as the server has it, with the record of who owns which field, which no cache keeps."""
        return await self._client.get(resource, metadata.name(desired), metadata.namespace(desired))


class Conflict(Exception):  # noqa: N818 - a finding, not a failure
    """An object with the name of a child exists and is not ours."""

    def __init__(self, resource: Resource, live: Object) -> None:
        owner = metadata.controller_of(live)
        whose = f"is controlled by {owner['kind']} {owner['name']}" if owner else "has no owner"
        super().__init__(
            f"{resource.kind} {metadata.key(live)} exists already and {whose}. Delete or rename it, or give the "
            "Workspace another name."
        )


def refusal_of(error: Exception) -> Blocked | None:
    """Return what the user should read when a child cannot be written; None for what only needs another try."""
    if isinstance(error, Conflict):
        return Blocked(reason=Reason.WORKLOAD_CONFLICT, message=str(error))
    if is_invalid(error) or is_forbidden(error):
        return Blocked(reason=Reason.WORKLOAD_REFUSED, message=f"the API server refuses it: {error}")
    return None


def _same_controller(live: Object, desired: Object) -> bool:
    ours, theirs = metadata.controller_of(desired), metadata.controller_of(live)
    return ours is not None and theirs is not None and ours.get("uid") == theirs.get("uid")
