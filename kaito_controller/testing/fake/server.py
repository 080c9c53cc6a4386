"""The fake API server itself: no sockets, no threads, its time and its chance handed in."""

from __future__ import annotations

import random
from typing import Any

from kaito_controller.kube.core import NAMESPACES
from kaito_controller.kube.metadata import Object, name, namespace
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake import discovery, kinds, rendering, status
from kaito_controller.testing.fake.definitions import Definitions
from kaito_controller.testing.fake.deleting import Deleting
from kaito_controller.testing.fake.evicting import Evicting
from kaito_controller.testing.fake.kinds import Kind
from kaito_controller.testing.fake.reading import Listed, Reading
from kaito_controller.testing.fake.request import JSON, Request, Response
from kaito_controller.testing.fake.reviews import Users
from kaito_controller.testing.fake.routes import Target, target
from kaito_controller.testing.fake.status import RefusalError
from kaito_controller.testing.fake.storage import Storage
from kaito_controller.testing.fake.watching import Watching
from kaito_controller.testing.fake.writing import MERGE, Writing

NAMESPACES_AT_FIRST = ("default", "kube-node-lease", "kube-public", "kube-system")


class FakeServer:
    """An API server that keeps its objects in memory and behaves as kube-apiserver 1.37 does, as far as it is told.

    Every kind of `kube.core` is served from the start; a CustomResourceDefinition that a client creates adds its own,
    and `serve` adds one without any. `requests` is the log of what was asked, in order; `users` tells who is known and
    may do what. Objects handed out by the seed helpers are the stored ones: read only.

    Not there: controllers (nothing is garbage collected, scheduled or run), CEL rules, admission but for namespaces,
    RBAC on requests, and most defaults and checks of the built-in kinds.

    Args:
        notifies: whether watch caches hear of the progress of all of etcd, as where kubeadm set it up, or of their own
            changes only. A bookmark is sent only when it tells more than the version its watch began at.
    """

    def __init__(self, clock: Clock, rng: random.Random | None = None, *, notifies: bool = True) -> None:
        self.clock = clock
        self.rng = rng or random.Random(1)  # noqa: S311 - names and timeouts of a fake
        self.kinds = kinds.standard()
        self.storage = Storage(clock, notifies=notifies)
        self.requests: list[Request] = []
        self._reading = Reading(self.storage)
        self._writing = Writing(clock=clock, rng=self.rng, storage=self.storage)
        self._deleting = Deleting(clock=clock, storage=self.storage)
        self._watching = Watching(clock=clock, rng=self.rng, storage=self.storage)
        self._evicting = Evicting(clock=clock, storage=self.storage, deleting=self._deleting)
        self._definitions = Definitions(
            clock=clock,
            storage=self.storage,
            kinds=self.kinds,
            cut=self._watching.cut,
            delete=self._delete,
        )
        self.users = Users()
        for kind in self.kinds:
            self.storage.collection(kind.group_resource)
        for space in NAMESPACES_AT_FIRST:
            self.create(NAMESPACES, {"metadata": {"name": space}})

    async def handle(self, request: Request) -> Response:
        """Answer one request; refusals are answers, too."""
        self.requests.append(request)
        self.storage.tick()
        try:
            user = self.users.of(request.token)
            found = discovery.answer(self.kinds, request) if request.method == "GET" else None
            if found is not None:
                return Response(body=found)
            review = self.users.answer(request, user)
            if review is not None:
                return Response(status=201, body=review)
            return await self._answer(target(self.kinds, request.path), request)
        except RefusalError as refusal:
            return Response(status=refusal.code, body=refusal.body, headers=refusal.headers)

    def serve(self, *resources: Resource | Kind) -> None:
        """Serve further kinds from now on; a bare resource is served as a custom one with a status subresource."""
        for resource in resources:
            kind = resource if isinstance(resource, Kind) else kinds.plain(resource)
            self.kinds.add(kind)
            self.storage.collection(kind.group_resource)

    def compact(self) -> None:
        """Forget every version but the current: older pages, exact lists and watches are answered with 410."""
        self.storage.compact()

    def cut_watches(self) -> None:
        """End every open watch without a word, as a server does that goes down."""
        self._watching.cut()

    def expire_watches(self) -> None:
        """Forget the history, and tell every open watch in its stream that its version is too old."""
        self.compact()
        for watch in list(self._watching.opened):
            watch.fail(status.too_old(self.storage.revision - 1, self.storage.revision))

    @property
    def open_watches(self) -> int:
        """How many watches are open."""
        return sum(not watch.ended for watch in self._watching.opened)

    def create(self, resource: Resource, obj: Object) -> Object:
        """Create an object as if a client had, and its namespace when that is missing."""
        space = namespace(obj)
        if space and space not in self.storage.collection("namespaces").objects:
            self.create(NAMESPACES, {"metadata": {"name": space}})
        created = self._writing.create(self._target(resource, space), whole(resource, obj), _seed("POST"))
        self._settle(resource)
        return created

    def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """Replace an object as if a client had; without a resourceVersion, whatever it is by now."""
        found = self._target(resource, namespace(obj), name(obj), subresource)
        updated = self._writing.replace(found, self._reading.current(found), whole(resource, obj), _seed("PUT"))
        self._settle(resource)
        return updated

    def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        patch: Object,
        subresource: str = "",
    ) -> Object:
        """Merge into an object as if a client had."""
        found = self._target(resource, namespace or "", name, subresource)
        patched, _ = self._writing.patch(found, patch, _seed("PATCH", MERGE))
        self._settle(resource)
        return patched

    def delete(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Delete an object as if a client had."""
        answer = self._deleting.delete(self._target(resource, namespace or "", name), None, _seed("DELETE"))
        self._settle(resource)
        return answer

    def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """The object as it is stored; raises a `RefusalError` 404 when it is not there."""
        return self._reading.current(self._target(resource, namespace or "", name))

    def objects(self, resource: Resource) -> list[Object]:
        """Every object of a kind as it is stored, sorted by key."""
        collection = self.storage.collection(self.kinds.of(resource).group_resource)
        return [collection.objects[key] for key in collection.keys]

    def _target(self, resource: Resource, space: str, name: str = "", subresource: str = "") -> Target:
        return Target(kind=self.kinds.of(resource), namespace=space, name=name, subresource=subresource)

    def _delete(self, where: Target) -> None:
        self._deleting.delete(where, None, _seed("DELETE"))

    def _settle(self, resource: Resource) -> None:
        if self._definitions.is_concerned(resource):
            self._definitions.settle()

    async def _answer(self, where: Target, request: Request) -> Response:
        form = rendering.form(request)
        if request.method == "GET":
            return await self._read(where, request, form)
        code, obj = self._write(where, request)
        self._settle(where.resource)
        if obj.get("kind") in {"Status", where.resource.list_kind}:
            return Response(status=code, body=obj)
        return Response(status=code, body=rendering.rendered(where.kind, form, obj, self.clock.now()))

    def _write(self, where: Target, request: Request) -> tuple[int, Object]:
        if request.method in {"POST", "PUT"} and request.content_type.partition(";")[0] != JSON:
            raise status.unsupported_media_type((JSON,))
        match request.method, bool(where.name):
            case "POST", True if where.subresource == "eviction":
                return 201, self._evicting.evict(where, request.body, request)
            case "POST", False:
                if where.kind.closing:
                    why = "create not allowed while custom resource definition is terminating"
                    raise status.forbidden(where.resource.group, where.resource.plural, "", why)
                return 201, self._writing.create(where, request.body, request)
            case "PUT", True:
                obj, new = self._writing.update(where, request.body, request)
                return (201 if new else 200), obj
            case "PATCH", True:
                obj, new = self._writing.patch(where, request.body, request)
                return (201 if new else 200), obj
            case "DELETE", True if not where.subresource:
                return 200, self._deleting.delete(where, request.body, request)
            case "DELETE", False if "deletecollection" in where.kind.verbs:
                deleted = self._deleting.delete_collection(where, request.body, request)
                return 200, self._list(where, "", Listed(items=deleted, version=self.storage.revision))
        raise status.method_not_allowed()

    async def _read(self, where: Target, request: Request, form: str) -> Response:
        if request.is_watch and not where.name:
            return Response(stream=await self._watching.open(where, request))
        if where.name:
            found = await self._reading.get(where, request)
            return Response(body=rendering.rendered(where.kind, form, found, self.clock.now()))
        return Response(body=self._list(where, form, await self._reading.list(where, request)))

    def _list(self, where: Target, form: str, listed: Listed) -> Object:
        head: dict[str, Any] = {"resourceVersion": str(listed.version)}
        if listed.next_page:
            head["continue"] = listed.next_page
        if listed.remaining is not None:
            head["remainingItemCount"] = listed.remaining
        return rendering.rendered_list(where.kind, form, listed.items, head, self.clock.now())


def whole(resource: Resource, obj: Object) -> Object:
    """An object that says of what kind it is."""
    head = obj.get("metadata") or {}
    return {"apiVersion": resource.api_version, "kind": resource.kind} | obj | {"metadata": head}


def _seed(method: str, content_type: str = JSON) -> Request:
    return Request(method=method, path="", content_type=content_type, user_agent="seed")
