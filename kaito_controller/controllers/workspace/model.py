"""The model that a Workspace names: one of the catalogue, or one whose own files are read beside the reconcile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.loader import Catalog, UnknownPreset
from kaito_controller.catalog.model import Preset
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.model_reader import ModelKey
from kaito_controller.sources.oci.reference import SCHEME, OciReference
from kaito_controller.sources.resolver import Failed, Found, Lookup, Pending

_TROUBLES: Final[Mapping[Trouble, Reason]] = {
    Trouble.DENIED: Reason.MODEL_ACCESS_DENIED,
    Trouble.UNREACHABLE: Reason.MODEL_UNREACHABLE,
    Trouble.BUSY: Reason.MODEL_UNREACHABLE,
}

ModelLookup = Lookup[Preset]
"""What is known of a model that is not in the catalogue."""


class Models(Protocol):
    """Where models that the catalogue does not have are looked up; it never waits."""

    def lookup(self, key: ModelKey, who: Request) -> ModelLookup:
        """What is known now; `who` is woken when there is more."""
        ...


def key_of(workspace: Workspace, catalog: Catalog) -> ModelKey | None:
    """What to look up for a Workspace; None where the catalogue has the model, or no hub could.

    A revision that a plan was made of is kept to: what is served must be what was planned.
    """
    wanted = workspace.preset
    if wanted is None or not _is_elsewhere(wanted.name, catalog):
        return None
    plan = workspace.status.plan
    named = _named(wanted.name)
    keeps = plan is not None and plan.revision and plan.model == named and "@" not in wanted.name
    reference = f"{named}@{plan.revision}" if keeps and plan is not None else wanted.name
    if wanted.name.startswith(SCHEME):
        pulls = wanted.preset_options.image_pull_secrets
        return ModelKey(
            reference=reference, namespace=workspace.metadata.namespace if pulls else "", pull_secrets=pulls
        )
    secret = workspace.access_secret
    return ModelKey(reference=reference, namespace=workspace.metadata.namespace if secret else "", secret=secret)


def _named(name: str) -> str:
    """The id of the model that a user's name stands for, without a revision."""
    if not name.startswith(SCHEME):
        return name.partition("@")[0]
    try:
        return OciReference.parse(name).model_id
    except SourceError:
        return name


def pinned(preset: Preset) -> str:
    """How a model that was read is asked for again, at the revision that was read."""
    return f"{preset.model_id}@{preset.revision}"


def goes_on(workspace: Workspace, found: ModelLookup | None) -> bool:
    """Whether a Workspace was planned before and its model's files are not at hand just now.

    A restarted operator reads them anew. Until it has, and while a hub is away, what runs is left as it is, and so is
    what the Workspace says of itself.
    """
    preset, plan = workspace.preset, workspace.status.plan
    known = plan is not None and preset is not None and plan.model == _named(preset.name)
    return known and isinstance(found, Pending | Failed)


def preset_of(workspace: Workspace, catalog: Catalog, found: ModelLookup | None) -> Preset | Blocked:
    """The model that a Workspace names, or why it is not known."""
    name = workspace.preset.name if workspace.preset is not None else ""
    where = f"{workspace.purpose}.preset.name"
    try:
        return catalog.preset(name)
    except UnknownPreset as error:
        unknown = error
    match found:
        case Found():
            return found.value
        case Pending():
            message = f"{where}: {name} is being read, to learn what it needs."
            return Blocked(reason=Reason.MODEL_LOOKUP, message=message, waits=True)
        case Failed():
            reason = _TROUBLES.get(found.trouble, Reason.MODEL_UNUSABLE)
            again = f"{found.retry_at:%Y-%m-%dT%H:%M:%SZ}"
            return Blocked(
                reason=reason,
                message=f"{where}: {found.message}. It is tried again at {again}.",
                waits=reason is Reason.MODEL_UNREACHABLE,
            )
    remedy = "Use one that kubectl kaito models lists, or a hub's ORGANISATION/MODEL."
    return Blocked(reason=Reason.UNKNOWN_PRESET, message=f"{where}: {unknown}. {remedy}")


def _is_elsewhere(name: str, catalog: Catalog) -> bool:
    try:
        catalog.preset(name)
    except UnknownPreset:
        organisation, _, model = name.partition("/")
        return bool(organisation and model)
    return False
