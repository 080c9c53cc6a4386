"""Writing a claim's status: one patch, of what changed, and none when nothing did."""

from __future__ import annotations

from typing import Any

from kaito_controller.api.nodeclaim import NODE_CLAIMS, NodeClaimStatus
from kaito_controller.controllers.nodeclaim.context import Context
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.serde import unstructure


def difference(before: NodeClaimStatus, after: NodeClaimStatus) -> dict[str, Any]:
    """The fields of the status that changed, in the form of a merge patch; conditions go as a whole list."""
    old, new = unstructure(before), unstructure(after)
    return {name: value for name, value in new.items() if old.get(name) != value}


async def write_status(context: Context, claim: Object, before: NodeClaimStatus, after: NodeClaimStatus) -> Object:
    """Write what changed and return the claim as it is then.

    The patch is guarded by the claim's resourceVersion, because conditions are written as a whole: whoever wrote in
    between is not overwritten, the conflict brings the claim back.
    """
    changed = difference(before, after)
    if not changed:
        return claim
    head = {"resourceVersion": metadata.resource_version(claim)}
    patch = {"metadata": head, "status": changed}
    written = await context.patch(NODE_CLAIMS, metadata.name(claim), patch, subresource="status")
    return claim if written is None else written
