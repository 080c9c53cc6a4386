"""Writes: create, replace, patch and apply, and what each must have true before it happens."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen

from kaito_controller.kube import core
from kaito_controller.kube.metadata import Object, is_deleting
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake import decoding, merging, ownership, patches, preparing, rendering, shapes, status
from kaito_controller.testing.fake.ownership import Manager, Ownership
from kaito_controller.testing.fake.request import Request
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.shapes import Shape
from kaito_controller.testing.fake.storage import Storage

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
_NAME_ATTEMPTS = 8
_ABSENT: Object = {"metadata": {}}


@frozen(kw_only=True)
class Writing:
    """Writes to the storage as a kube-apiserver lets them through."""

    clock: Clock
    rng: random.Random
    storage: Storage

    def create(self, target: Target, body: Any, request: Request) -> Object:
        """POST to a collection."""
        obj = decoding.decoded(target, body)
        head = obj["metadata"]
        if head.get("resourceVersion"):
            raise status.unexpected("resourceVersion should not be set on objects to be created")
        named = self._named(target, head)
        self._check_namespace(named)
        return self._create(named, obj, request)

    def update(self, target: Target, body: Any, request: Request) -> tuple[Object, bool]:
        """PUT of an object or a subresource; the object and whether it is new."""
        obj = decoding.decoded(target, body)
        decoding.check_name(target, obj)
        head = obj["metadata"]
        old = self._objects(target).get(target.key)
        if old is None:
            if not target.kind.create_on_update or target.subresource or head.get("uid"):
                raise status.not_found(target.resource.group, target.resource.plural, target.name)
            self._check_namespace(target)
            return self._create(target, obj, request), True
        if not head.get("resourceVersion") and not target.kind.unconditional:
            raise preparing.version_required(target)
        preparing.check_uid(target, old, head)
        return self.replace(target, old, obj, request), False

    def patch(self, target: Target, body: Any, request: Request) -> tuple[Object, bool]:
        """PATCH by the content type of the request; the object and whether it is new."""
        content_type = request.content_type.partition(";")[0]
        decoding.check_patch_options(request, content_type)
        if content_type == APPLY:
            return self._apply(target, body, request)
        change: Callable[[Object], Any]
        if content_type == MERGE:
            change = lambda old: patches.merged(old, body)  # noqa: E731 - one of two ways to change an object
        elif content_type == JSON_PATCH:
            change = lambda old: patches.patched(old, body)  # noqa: E731 - the other way
        else:
            raise status.unsupported_media_type((JSON_PATCH, MERGE, APPLY))
        old = self._objects(target).get(target.key)
        if old is None:
            raise status.not_found(target.resource.group, target.resource.plural, target.name)
        new = decoding.decoded(target, change(rendering.shown(target.kind, old)))
        decoding.check_name(target, new)
        preparing.check_same_uid(target, old, new["metadata"])
        return self.replace(target, old, new, request), False

    def replace(self, target: Target, old: Object, body: Object, request: Request) -> Object:
        """Put an object in the place of another, when that is still the version that is meant."""
        owned = _recorded(old, body)
        new = self._prepared(target, old, body)
        if owned.fields:
            # Where nobody is on record, nobody is recorded until somebody applies.
            manager = _manager(target, request, ownership.UPDATE)
            owned = ownership.updated(_shape(target), owned, old, new, manager=manager, now=self.clock.now())
        return self._replace(target, old, _stamped(new, owned), request)

    def _apply(self, target: Target, body: Any, request: Request) -> tuple[Object, bool]:
        config = decoding.configuration(target, body)
        old = self._objects(target).get(target.key)
        if old is None and target.subresource:
            raise status.not_found(target.resource.group, target.resource.plural, target.name)
        if old is None and config["metadata"].get("uid"):
            raise preparing.nothing_with_uid(target, config["metadata"]["uid"])
        live = old or {**_ABSENT, "apiVersion": target.resource.api_version, "kind": target.resource.kind}
        manager = _manager(target, request, ownership.APPLY)
        force = request.query.get("force") == "true"
        try:
            merged, owned = ownership.applied(
                _shape(target),
                self._first(target, old),
                live,
                config,
                manager=manager,
                now=self.clock.now(),
                force=force,
            )
        except merging.DuplicateKeyError as error:
            raise decoding.cannot_type(target, str(error)) from error
        decoding.check_name(target, merged)
        merged = merged if target.kind.custom else decoding.without_nulls(merged)
        new = decoding.decoded(target, merged, nulls=True)
        if old is None:
            self._check_namespace(target)
            return self._create(target, new, request, owned), True
        preparing.check_same_uid(target, old, new["metadata"])
        return self._replace(target, old, _stamped(self._prepared(target, old, new), owned), request), False

    def _first(self, target: Target, old: Object | None) -> Ownership:
        """Who owns what before an apply: of what nobody is recorded for, nobody in particular owns everything."""
        if old is None:
            return Ownership()
        owned = Ownership.of(old)
        if owned.fields:
            return owned
        nobody = Manager(operation=ownership.UPDATE, name=ownership.NOBODY, api_version=target.resource.api_version)
        before = self._absent(target)
        return ownership.updated(_shape(target), owned, before, old, manager=nobody, now=self.clock.now())

    def _create(self, target: Target, obj: Object, request: Request, owned: Ownership | None = None) -> Object:
        kind = target.kind
        now = self.clock.now()
        new = preparing.created(target, obj, now, self.rng)
        new = kind.defaults(new) if kind.defaults else new
        decoding.check(target, new)
        if target.key in self._objects(target):
            raise status.already_exists(target.resource.group, target.resource.plural, target.name)
        if owned is None:
            manager = _manager(target, request, ownership.UPDATE)
            owned = ownership.updated(_shape(target), Ownership(), self._absent(target), new, manager=manager, now=now)
        new = _stamped(new, owned)
        return self._store(target, kind.initial(new) if kind.initial else new, request)

    def _prepared(self, target: Target, old: Object, body: Object) -> Object:
        """What would be stored, after everything that can be wrong with it was checked."""
        preparing.check_version(target, old, body["metadata"])
        new = preparing.updated(target, old, body)
        decoding.check(target, new, preparing.added_finalizers(old, new))
        return new

    def _replace(self, target: Target, old: Object, new: Object, request: Request) -> Object:
        if preparing.same(old, new):
            return old
        if is_deleting(new) and not preparing.is_kept(target, new):
            if not request.dry_run:
                self.storage.remove(target.kind.group_resource, target.key)
            return new
        return self._store(target, new, request)

    def _store(self, target: Target, obj: Object, request: Request) -> Object:
        return obj if request.dry_run else self.storage.write(target.kind.group_resource, target.key, obj)

    def _absent(self, target: Target) -> Object:
        """What a kind looks like before there is anything: the structs of built-in kinds are there, and empty."""
        head: Object = {"apiVersion": target.resource.api_version, "kind": target.resource.kind, "metadata": {}}
        if target.kind.custom:
            return head
        containers: Object = {"containers": None}
        spec = containers if target.resource == core.PODS else {"template": {"metadata": {}, "spec": containers}}
        return head | {"spec": spec, "status": {}}

    def _named(self, target: Target, head: Object) -> Target:
        name, prefix = head.get("name") or "", head.get("generateName") or ""
        if name:
            return evolve(target, name=name)
        if not prefix:
            raise preparing.name_required(target)
        for _ in range(_NAME_ATTEMPTS):
            named = evolve(target, name=preparing.generated(prefix, self.rng))
            if named.key not in self._objects(named):
                break
        return named

    def _check_namespace(self, target: Target) -> None:
        if not target.namespace:
            return
        found = self.storage.collection("namespaces").objects.get(target.namespace)
        if found is None:
            raise status.not_found("", core.NAMESPACES.plural, target.namespace)
        if is_deleting(found):
            raise status.terminating(target.resource.group, target.resource.plural, target.name, target.namespace)

    def _objects(self, target: Target) -> dict[str, Object]:
        return self.storage.collection(target.kind.group_resource).objects


def _shape(target: Target) -> Shape:
    return shapes.of_root(target.kind.schema) if target.kind.custom else shapes.BUILT_IN


def _manager(target: Target, request: Request, operation: str) -> Manager:
    return Manager(
        operation=operation,
        name=request.manager,
        api_version=target.resource.api_version,
        subresource=target.subresource,
    )


def _stamped(obj: Object, owned: Ownership) -> Object:
    managed = owned.written()
    head = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return obj | {"metadata": head | ({"managedFields": managed} if managed else {})}


def _recorded(old: Object, body: Object) -> Ownership:
    """Who owned what before: as the body says, where it says anything; one that empties the record starts it anew."""
    given = body["metadata"].get("managedFields")
    if given in ([], [{}]):
        return Ownership()
    return Ownership.of(body if given else old)
