"""A client whose reads come from informers and whose writes go to the server."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.kube.selector_text import parse_field_selector, parse_label_selector
from kaito_controller.kube.selectors import LabelSelector
from kaito_controller.machinery.cache.cache import SYNC_TIMEOUT_S, Cache, CacheSyncError, Scope
from kaito_controller.machinery.cache.deep_copy import deep_copy
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.store import IndexFunction
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError


class CacheNotStartedError(Exception):
    """A read before the cache was started: it would wait for ever."""


class NotCachedError(Exception):
    """A read of a kind or namespace that the cache does not hold, where reads start no informers."""


class CachedClient:
    """Reads what informers know, a moment late, and writes to the server.

    What was just written may not be there yet: ask `Cache.require_fresh` at the start of a reconcile, and never read
    after a write to learn what it did, but use the write's answer (CC4).

    Args:
        uncached: kinds that are read from the server every time.
        scopes: of which objects, and what of them, a kind's informer is; everything unless said.
        fail_on_missing: reads of a kind that nobody made an informer for fail instead of starting one.
        sync_timeout_s: how long the first read of a kind waits for its first list.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        uncached: Collection[Resource] = frozenset(),
        scopes: Mapping[Resource, Scope] = MappingProxyType({}),
        fail_on_missing: bool = False,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
    ) -> None:
        self.cache = cache
        self._client: Client = cache.client
        self._uncached = frozenset(uncached)
        self._scopes = dict(scopes)
        self._fail_on_missing = fail_on_missing
        self._sync_timeout_s = sync_timeout_s

    def index_field(self, resource: Resource, path: str, function: IndexFunction | None = None) -> None:
        """Let `list` select by a field; without a function the field's own value is meant. Best before the start.

        Raises:
            ValueError: the field is indexed by another function.
        """
        informer = self._informer(resource)
        name = _index(path)
        if function is None and name in informer.store.indexes:
            return
        informer.add_index(name, function or _value_at(path))

    async def get(self, resource: Resource, name: str, namespace: str | None = None, *, copy: bool = True) -> Object:
        """One object.

        Args:
            resource: its kind.
            name: its name.
            namespace: where it is; None for a cluster-scoped kind.
            copy: False hands out what the cache holds, which must not be changed.

        Raises:
            ApiError: 404, there is none; or what the server said, of an uncached kind.
            CacheNotStartedError: the cache was not started.
            NotCachedError: the cache does not hold such objects.
            CacheSyncError: the first list of the kind did not come in time.
        """
        if resource in self._uncached:
            return await self._client.get(resource, name, namespace)
        informer = await self._synced(resource, namespace)
        obj = informer.store.get(f"{namespace}/{name}" if namespace else name)
        if obj is None:
            kind = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            raise ApiError(404, "NotFound", f'{kind} "{name}" not found', {"kind": resource.plural, "name": name})
        return deep_copy(obj) if copy else obj

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: LabelSelector | str = "",
        field_selector: Mapping[str, str] | str = "",
        limit: int = 0,
        continue_token: str = "",
        copy: bool = True,
    ) -> builtins.list[Object]:
        """The objects of a kind that match, in no particular order.

        Args:
            resource: the kind.
            namespace: only those there; None for all.
            label_selector: what their labels must be.
            field_selector: exact values of fields that `index_field` was told of; all must hold.
            limit: how many at most; the rest is not to be had. 0 for all.
            continue_token: refused, since nothing is ever left over.
            copy: False hands out what the cache holds, which must not be changed.

        Raises:
            LookupError: a field has no index.
            ValueError: a selector cannot be read, or a continue token was given.
            CacheNotStartedError, NotCachedError, CacheSyncError: as for `get`.
        """
        if resource in self._uncached:
            return await self._from_server(resource, namespace, label_selector, field_selector, limit)
        if continue_token:
            raise ValueError("continue: a cache gives everything at once and has no further pages; leave it out")
        labels = parse_label_selector(label_selector) if isinstance(label_selector, str) else label_selector
        fields = parse_field_selector(field_selector) if isinstance(field_selector, str) else field_selector
        informer = await self._synced(resource, namespace)
        found = [obj for obj in _selected(informer, fields) if _matches(obj, namespace, labels)]
        if limit:
            found = found[:limit]
        return [deep_copy(obj) for obj in found] if copy else found

    async def create(self, resource: Resource, body: Object, *, field_manager: str = "") -> Object:
        """Create an object; the answer is what was created."""
        return self._noted(resource, await self._client.create(resource, body, field_manager=field_manager))

    async def update(self, resource: Resource, body: Object, subresource: str = "") -> Object:
        """Replace an object."""
        return self._noted(resource, await self._client.update(resource, body, subresource))

    async def apply(
        self, resource: Resource, body: Object, *, field_manager: str, force: bool = True, subresource: str = ""
    ) -> Object:
        """Own exactly the fields in the body."""
        applied = await self._client.apply(
            resource, body, field_manager=field_manager, force=force, subresource=subresource
        )
        return self._noted(resource, applied)

    async def merge_patch(
        self, resource: Resource, name: str, namespace: str | None, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object:
        """Merge into an object."""
        patched = await self._client.merge_patch(resource, name, namespace, patch, subresource=subresource)
        return self._noted(resource, patched)

    async def delete(
        self, resource: Resource, name: str, namespace: str | None = None, *, uid: str | None = None
    ) -> None:
        """Ask for the deletion of an object; with a UID, of that very one only."""
        await self._client.delete(resource, name, namespace, uid=uid)

    def _noted(self, resource: Resource, obj: Object) -> Object:
        self.cache.written(resource, obj)
        return obj

    def _informer(self, resource: Resource) -> Informer:
        scope = self._scopes.get(resource) or self.cache.everything(resource)
        informer = self.cache.find(resource, scope)
        if informer is not None:
            return informer
        if self._fail_on_missing and self.cache.is_started:
            raise NotCachedError(
                f"{resource.kind}: nobody made an informer for it, and reads are told not to;"
                " ask the cache for one at the start, or name the kind as uncached"
            )
        return self.cache.informer(
            resource,
            namespace=scope.namespace,
            label_selector=scope.label_selector,
            field_selector=scope.field_selector,
            metadata_only=scope.metadata_only,
            transform=scope.transform,
        )

    async def _synced(self, resource: Resource, namespace: str | None) -> Informer:
        """The informer of a kind, once it knows all there is."""
        if not self.cache.is_started:
            raise CacheNotStartedError(f"{resource.kind}: the cache is not started; read after Cache.start()")
        informer = self._informer(resource)
        held = informer.namespace
        if held is not None and namespace != held:
            asked = f"namespace {namespace!r}" if namespace else "all namespaces"
            raise NotCachedError(f"{resource.kind}: the cache holds namespace {held!r} only, and {asked} is asked for")
        if not informer.has_synced:
            try:
                async with asyncio.timeout(self._sync_timeout_s):
                    await informer.wait_synced()
            except TimeoutError:
                reason = informer.last_error or "no answer yet"
                raise CacheSyncError(
                    f"no complete list of {resource.plural} within {self._sync_timeout_s:g} s: {reason}"
                ) from None
        return informer

    async def _from_server(
        self,
        resource: Resource,
        namespace: str | None,
        label_selector: LabelSelector | str,
        field_selector: Mapping[str, str] | str,
        limit: int,
    ) -> builtins.list[Object]:
        if not isinstance(field_selector, str):
            field_selector = ",".join(f"{path}={value}" for path, value in field_selector.items())
        found = await self._client.list(resource, namespace, str(label_selector), field_selector)
        return found[:limit] if limit else found


def _selected(informer: Informer, fields: Mapping[str, str]) -> Iterable[Object]:
    """The objects with these values in all these fields."""
    if not fields:
        return informer.store.list()
    keys: set[str] | None = None
    for path, value in fields.items():
        if _index(path) not in informer.store.indexes:
            raise LookupError(f"field selector {path!r}: not indexed; say so with index_field() before it is asked for")
        found = set(informer.store.index_keys(_index(path), value))
        keys = found if keys is None else keys & found
    return [obj for key in sorted(keys or ()) if (obj := informer.store.get(key)) is not None]


def _matches(obj: Object, namespace: str | None, labels: LabelSelector) -> bool:
    return (not namespace or metadata.namespace(obj) == namespace) and labels.matches(metadata.labels(obj))


def _index(path: str) -> str:
    return f"field:{path}"


def _value_at(path: str) -> Callable[[Object], tuple[str, ...]]:
    names = path.split(".")

    def values(obj: Object) -> tuple[str, ...]:
        found: Any = obj
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return () if found is None else (str(found),)

    return values
