"""Server-side apply: saying which fields are ours, and finding out whose the others are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import frozen

from kaito_controller.kube.metadata import Object, key, metadata, resource_version
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.errors import ApiError, is_conflict
from kaito_controller.machinery.reconcile.request import TerminalError


@frozen(kw_only=True)
class FieldConflict:
    """One field that another manager owns with another value.

    Attributes:
        field: its path, such as `.spec.replicas`.
        message: the server's words, with the manager's name.
    """

    field: str
    message: str


class ApplyConflictError(TerminalError):
    """An apply without force met fields of others. Trying again changes nothing: a person decides whose they are."""

    def __init__(self, text: str, conflicts: tuple[FieldConflict, ...]) -> None:
        super().__init__(text)
        self.conflicts = conflicts


class Applies(Protocol):
    """A `Client`, or a `CachedClient`, which takes note of what it wrote."""

    async def create(self, resource: Resource, body: Object, *, field_manager: str = "") -> Object:
        """Create an object."""
        ...

    async def apply(
        self, resource: Resource, body: Object, *, field_manager: str, force: bool = True, subresource: str = ""
    ) -> Object:
        """Own exactly the fields in the body."""
        ...


@frozen(kw_only=True)
class Applier:
    """Applies intents under one field manager's name.

    Attributes:
        client: sends them.
        field_manager: who owns what is applied; the same through all versions of a controller.
    """

    client: Applies
    field_manager: str

    def __attrs_post_init__(self) -> None:
        if not self.field_manager:
            raise ValueError("field_manager: an apply needs the name of its manager; found none")

    async def create(self, resource: Resource, intent: Object) -> Object:
        """Make an object that is not there; one that is, and may be a stranger's, is never touched.

        An apply would merge into that one, and a look beforehand leaves a moment in between. What is made so is owned
        as by an update: before the first apply over it, send the patch of `as_applied`.

        Raises:
            ApiError: an object of that name exists (409 AlreadyExists), or the server refused for another reason.
            ValueError: the intent is an object that was read.
        """
        _require_intent(intent)
        return await self.client.create(resource, intent, field_manager=self.field_manager)

    async def apply(self, resource: Resource, intent: Object, *, force: bool) -> Object:
        """Own exactly the fields of `intent`; what only we owned and is no longer in it, the server removes (PT1, PT3).

        Args:
            resource: the kind.
            intent: the fields that we care about, not an object that was read.
            force: take fields that others own. A controller does for what is its own to decide, and nobody else.

        Raises:
            ApplyConflictError: without `force`, others own some of the fields with other values (PT2).
            ApiError: the server refused for another reason.
            ValueError: the intent is an object that was read.
        """
        return await self._apply(resource, intent, force, "")

    async def apply_status(self, resource: Resource, intent: Object, *, force: bool) -> Object:
        """The same for the status, which is written by its subresource only."""
        return await self._apply(resource, intent, force, "status")

    async def _apply(self, resource: Resource, intent: Object, force: bool, subresource: str) -> Object:
        _require_intent(intent)
        try:
            return await self.client.apply(
                resource, intent, field_manager=self.field_manager, force=force, subresource=subresource
            )
        except ApiError as error:
            conflicts = field_conflicts(error)
            if not conflicts:
                raise
            fields = ", ".join(f"{each.field} ({each.message})" for each in conflicts)
            text = f"{resource.kind} {key(intent)!r}: fields of others: {fields}; leave them out, or apply with force"
            raise ApplyConflictError(text, conflicts) from error


def as_applied(obj: Object, field_manager: str) -> Object:
    """The merge patch that makes an object count as applied which `Applier.create` made; empty when it counts already.

    Without it, a field that is applied no longer would stay, since its creator owns it too. client-go's csaupgrade does
    the same to objects of client-side apply. Defaults, which a creator owns as well, are set anew by the server.

    Args:
        obj: as the server has it, with its `managedFields`.
        field_manager: who created it and is going to apply it.
    """
    entries = metadata(obj).get("managedFields") or []
    ours = [entry for entry in entries if entry.get("manager") == field_manager and not entry.get("subresource")]
    if [entry.get("operation") for entry in ours] != ["Update"]:
        return {}
    moved = [{**entry, "operation": "Apply"} if entry is ours[0] else entry for entry in entries]
    return {"metadata": {"managedFields": moved, "resourceVersion": resource_version(obj)}}


def field_conflicts(error: BaseException) -> tuple[FieldConflict, ...]:
    """The fields that an apply was refused for; empty for any other failure, also for another kind of conflict."""
    if not isinstance(error, ApiError) or not is_conflict(error):
        return ()
    return tuple(
        FieldConflict(field=str(cause.get("field") or ""), message=str(cause.get("message") or ""))
        for cause in error.causes
        if cause.get("reason") == "FieldManagerConflict"
    )


def _require_intent(intent: Mapping[str, Any]) -> None:
    for name in ("resourceVersion", "managedFields"):
        if metadata(intent).get(name):
            raise ValueError(
                f"metadata.{name} of {key(intent)!r}: an applied intent has none; state the fields you own"
            )
