"""Writing back what changed in an object since it was read, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaito_controller.kube.merge_patch import merge_patch
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.kube.metadata import name as name_of
from kaito_controller.kube.metadata import namespace as namespace_of
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client.client import Client


async def patch_from(
    client: Client,
    resource: Resource,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    subresource: str = "",
    optimistic_lock: bool = False,
) -> Object:
    """Merge the difference of two versions into the object and return what it is then; no difference, no call (PT4).

    A list is replaced whole by the one in `after`. Where somebody else may have added to it meanwhile, such as to
    finalizers or owner references, take `optimistic_lock`: it makes the write fail once `before` is outdated.

    Raises:
        ApiError: the server refused; with `optimistic_lock` a conflict says that the object changed meanwhile.
        ValueError: `optimistic_lock` with a `before` that was never read from a server.
    """
    patch = merge_patch(before, after)
    head = {name: value for name, value in patch.get("metadata", {}).items() if name != "resourceVersion"}
    if "metadata" in patch and not head:
        del patch["metadata"]
    if not patch:
        return dict(after)
    if head:
        patch["metadata"] = head
    if optimistic_lock:
        version = resource_version(before)
        if not version:
            raise ValueError(
                f"metadata.resourceVersion of {name_of(before)!r}: an optimistic lock needs it; found none"
            )
        patch["metadata"] = head | {"resourceVersion": version}
    space = namespace_of(before) or None
    return await client.merge_patch(resource, name_of(before), space, patch, subresource=subresource)
