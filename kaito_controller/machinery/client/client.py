"""Calls on Kubernetes objects as decoded JSON, over any transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from attrs import frozen

from kaito_controller.kube.core import PODS
from kaito_controller.kube.metadata import Object, uid
from kaito_controller.kube.metadata import name as name_of
from kaito_controller.kube.metadata import namespace as namespace_of
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.errors import ApiError, is_conflict, is_not_found
from kaito_controller.machinery.transport import Transport

APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
PAGE_SIZE = 500
"""Objects per page of a list, as client-go asks for."""
METADATA_KIND, METADATA_API_VERSION = "PartialObjectMetadata", "meta.k8s.io/v1"
"""What the API server calls an object that it stripped of all but its metadata."""
WHOLE = "application/json"


@frozen(kw_only=True)
class Page:
    """One answer to a list: some of the objects, and how to get the next ones."""

    items: list[Object]
    resource_version: str
    continue_token: str = ""
    remaining: int = 0


@frozen
class Client:
    """Reads and writes objects of any kind. Nothing is cached, nothing is typed.

    Every method raises `ApiError` when the server refuses and `ApiConnectionError` when no answer came. Objects
    handed in are not changed; the object that the server answers with is returned.
    """

    transport: Transport

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Read one object from the API server."""
        return await self.transport.request("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """Read one object that may not be there; None when it is not."""
        try:
            return await self.get(resource, name, namespace)
        except ApiError as error:
            if is_not_found(error):
                return None
            raise

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[Object]:
        """Read all objects of a kind that match, in pages, as they are now. No namespace means all of them."""
        items: list[Object] = []
        token = ""
        while True:
            page = await self.list_page(
                resource,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                limit=PAGE_SIZE,
                continue_token=token,
            )
            items += page.items
            token = page.continue_token
            if not token:
                return items

    async def list_page(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
        timeout_s: float = 60.0,
        metadata_only: bool = False,
    ) -> Page:
        """One request of a list. A continue token replaces the resource version, as the server demands (RF3).

        With `metadata_only` the server sends nothing but `metadata` of each object; kind and apiVersion are filled in.
        """
        query = selectors(label_selector, field_selector)
        if limit:
            query["limit"] = str(limit)
        if continue_token:
            query["continue"] = continue_token
        elif resource_version:
            query["resourceVersion"] = resource_version
        answer = await self.transport.request(
            "GET",
            resource.path(namespace),
            query=query,
            accept=_metadata_of(f"{METADATA_KIND}List") if metadata_only else WHOLE,
            timeout_s=timeout_s,
        )
        return page_of(resource, answer)

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        timeout_s: int = 300,
        initial_events: bool = False,
        metadata_only: bool = False,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a watch with bookmarks. The stream is bytes as they arrive, one JSON event per line.

        With `initial_events` it begins with all objects that are there, at the version or later, and a bookmark that
        says so (WL1). With `metadata_only` its objects are `PartialObjectMetadata`.
        """
        query = selectors(label_selector, field_selector)
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(timeout_s)}
        if resource_version:
            query["resourceVersion"] = resource_version
        if initial_events:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        accept = _metadata_of(METADATA_KIND) if metadata_only else WHOLE
        return self.transport.stream("GET", resource.path(namespace), query=query, accept=accept)

    async def create(self, resource: Resource, body: Object, *, field_manager: str = "") -> Object:
        """Create an object in the namespace that its metadata names; `field_manager` is who owns its fields then."""
        query = {"fieldManager": field_manager} if field_manager else None
        return await self.transport.request("POST", resource.path(namespace_of(body) or None), query=query, body=body)

    async def update(self, resource: Resource, body: Object, subresource: str = "") -> Object:
        """Replace an object; the resourceVersion in its metadata, when there, must still be the current one."""
        return await self.transport.request("PUT", _path(resource, body, subresource), body=body)

    async def apply(
        self,
        resource: Resource,
        body: Object,
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Object:
        """Server-side apply: own exactly the fields in the body; fields owned alone and now absent are removed."""
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        whole = {"apiVersion": resource.api_version, "kind": resource.kind} | body
        path = _path(resource, body, subresource)
        return await self.transport.request("PATCH", path, query=query, body=whole, content_type=APPLY)

    async def merge_patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Object:
        """Merge into an object; null removes a field, lists are replaced whole. An empty patch only reads (PT4)."""
        path = resource.path(namespace, name, subresource or None)
        if not patch:
            return await self.transport.request("GET", path)
        return await self.transport.request("PATCH", path, body=dict(patch), content_type=MERGE_PATCH)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        propagation: str = "Background",
    ) -> None:
        """Ask for the deletion of an object; with a UID, of that very one only (a conflict says it is another)."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        await self.transport.request("DELETE", resource.path(namespace, name), body=options)

    async def delete_exactly(self, resource: Resource, obj: Object) -> None:
        """Ask for the deletion of this very object, by its UID; one that is gone or was replaced is fine."""
        try:
            await self.delete(resource, name_of(obj), namespace_of(obj) or None, uid=uid(obj))
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise

    async def evict(self, name: str, namespace: str, *, uid: str | None = None) -> None:
        """Ask for a Pod to be evicted. A disruption budget that says no is an `ApiError` 429, raised at once."""
        body: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
        }
        if uid:
            body["deleteOptions"] = {"preconditions": {"uid": uid}}
        await self.transport.request("POST", PODS.path(namespace, name, "eviction"), body=body, retry=False)


def selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    """The query parameters of the selectors that are not empty."""
    pairs = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: value for name, value in pairs.items() if value}


def _path(resource: Resource, body: Object, subresource: str) -> str:
    return resource.path(namespace_of(body) or None, name_of(body), subresource or None)


def _metadata_of(kind: str) -> str:
    group, version = METADATA_API_VERSION.split("/")
    return f"application/json;as={kind};g={group};v={version}"


def page_of(resource: Resource, answer: Any) -> Page:
    """Decode a list. Its items come without kind and apiVersion, or as bare metadata, so both are filled in.

    An answer without items is no empty list: taken for one, it would tell a cache that everything is gone.
    """
    kind = answer.get("kind") if isinstance(answer, dict) else None
    items = answer.get("items", ...) if isinstance(answer, dict) else ...
    if kind == "Table" or not isinstance(items, list | None):
        found = f"a {kind}" if kind else "something else"
        raise ApiError(200, "InvalidAnswer", f"{resource.kind}: the server answered with {found} instead of a list")
    for item in items or ():
        if isinstance(item, dict):
            _fill_in_kind(item, resource)
    head = answer.get("metadata")
    head = head if isinstance(head, dict) else {}
    remaining = head.get("remainingItemCount")
    return Page(
        items=items or [],
        resource_version=str(head.get("resourceVersion") or ""),
        continue_token=str(head.get("continue") or ""),
        remaining=remaining if isinstance(remaining, int) else 0,
    )


def _fill_in_kind(item: Object, resource: Resource) -> None:
    if item.get("kind", METADATA_KIND) == METADATA_KIND:
        item["apiVersion"], item["kind"] = resource.api_version, resource.kind
    else:
        item.setdefault("apiVersion", resource.api_version)
