"""A reconciler as real ones are: it reads caches, applies children, deletes surplus ones, writes a status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random
from typing import Final

from attrs import define, field

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, generation, labels, name, namespace, resource_version, uid
from kaito_controller.kube.ownership import owner_reference
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import is_conflict, is_not_found
from kaito_controller.machinery.reconcile.request import Request, Result

WIDGETS: Final = Resource(group="simulation.example", version="v1", kind="Widget", plural="widgets", namespaced=True)
MANAGER: Final = "simulated-controller"
OWNER: Final = "widget"
"""The label of children that names their widget, and the index by it."""


def owners(obj: Object) -> Iterable[str]:
    """The key of the widget that a child belongs to."""
    owner = labels(obj).get(OWNER)
    return (f"{namespace(obj)}/{owner}",) if owner else ()


def wakes(obj: Object) -> Iterable[Request]:
    """The widget that a child belongs to, there or not: children of a deleted one have to go."""
    return [Request.from_key(owner) for owner in owners(obj)]


def desired(widget: Object) -> dict[str, Object]:
    """The children that a widget asks for, by name."""
    spec = widget.get("spec") or {}
    return {
        f"{name(widget)}-{number}": {
            "metadata": {
                "name": f"{name(widget)}-{number}",
                "namespace": namespace(widget),
                "labels": {OWNER: name(widget)},
                "ownerReferences": [owner_reference(WIDGETS, widget)],
            },
            "data": {"text": spec.get("text", "")},
        }
        for number in range(int(spec.get("count", 0)))
    }


def is_as_desired(child: Object, wanted: Object) -> bool:
    """Whether a child needs no write."""
    return child.get("data") == wanted["data"] and [
        reference["uid"] for reference in child["metadata"].get("ownerReferences") or ()
    ] == [uid_of(wanted)]


def uid_of(wanted: Object) -> str:
    """The UID of the widget that a wanted child names as its owner."""
    return str(wanted["metadata"]["ownerReferences"][0]["uid"])


@define(eq=False)
class WidgetReconciler:
    """Keeps as many ConfigMaps as each widget asks for, with troubles of its own by chance.

    Attributes:
        trouble: the chance that a reconcile fails, hangs or is cancelled at one of its steps.
        held: the requests being reconciled now.
        seen: the version of each widget that the last successful reconcile began with; empty for none there.
    """

    client: Client
    cache: Cache
    clock: Clock
    rng: Random
    has_synced: Callable[[], bool]
    violate: Callable[[str], None]
    trouble: Callable[[], float]
    held: set[Request] = field(factory=set)
    seen: dict[str, str] = field(factory=dict)
    count: int = 0

    async def reconcile(self, request: Request) -> Result:
        """Bring the children of one widget to what it asks for."""
        self.count += 1
        if request in self.held:
            self.violate(f"{request.key} is reconciled twice at the same time")
        if not self.has_synced():
            self.violate(f"{request.key} is reconciled before the caches have synced")
        self.held.add(request)
        try:
            return await self._reconcile(request)
        finally:
            self.held.discard(request)

    async def _reconcile(self, request: Request) -> Result:
        self.cache.require_fresh(WIDGETS, request.key)
        widget = self.cache.informer(WIDGETS).store.get(request.key)
        children = {name(obj): obj for obj in self.cache.informer(CONFIG_MAPS).store.by_index(OWNER, request.key)}
        wanted = desired(widget) if widget else {}
        for child_name in {**children, **wanted}:
            self.cache.require_fresh(CONFIG_MAPS, f"{request.namespace}/{child_name}")
        await self._may_fail()
        for child_name, child in wanted.items():
            known = children.get(child_name)
            if known is None or not is_as_desired(known, child):
                written = await self.client.apply(CONFIG_MAPS, child, field_manager=MANAGER)
                self.cache.written(CONFIG_MAPS, written)
                await self._may_fail()
        for surplus in [child for child in children.values() if name(child) not in wanted]:
            await self._delete(surplus)
            await self._may_fail()
        if widget:
            await self._write_status(widget, len(wanted))
        self.seen[request.key] = resource_version(widget) if widget else ""
        return Result.requeue(self.rng.random() * 60) if self.rng.random() < 0.05 else Result.done()  # noqa: PLR2004

    async def _delete(self, child: Object) -> None:
        try:
            await self.client.delete(CONFIG_MAPS, name(child), namespace(child), uid=uid(child))
        except Exception as error:
            if not (is_not_found(error) or is_conflict(error)):
                raise

    async def _write_status(self, widget: Object, count: int) -> None:
        status = {"observedGeneration": generation(widget), "children": count}
        if widget.get("status") == status:
            return
        try:
            written = await self.client.merge_patch(
                WIDGETS, name(widget), namespace(widget), {"status": status}, subresource="status"
            )
        except Exception as error:
            if not is_not_found(error):
                raise
        else:
            self.cache.written(WIDGETS, written)

    async def _may_fail(self) -> None:
        if self.rng.random() >= self.trouble():
            return
        match self.rng.randrange(7):
            case 0:
                raise RuntimeError("a failure of the reconciler")
            case 1:
                raise KeyError("a defect of the reconciler")
            case 2:
                raise asyncio.CancelledError
            case 3:
                await asyncio.Event().wait()
            case 4:
                # A reconciler that does not let itself be cut off.
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                await self.clock.sleep(self.rng.random() * 100)
                # Once more, and nothing would ever end it: a request is not taken from who holds it.
                raise RuntimeError("a failure long after the reconcile was cut off")
            case _:
                await self.clock.sleep(self.rng.random() * 20)
