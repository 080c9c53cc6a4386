"""Writes: create, replace, patch, and what each must have true before it happens."""

from __future__ import annotations

import random
from typing import Any

from attrs import evolve, frozen

from kaito_controller.kube import core
from kaito_controller.kube.metadata import Object, finalizers, is_deleting
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake import patches, preparing, status
from kaito_controller.testing.fake.request import Request
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.status import Cause
from kaito_controller.testing.fake.storage import Storage

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_NAME_ATTEMPTS = 8


@frozen(kw_only=True)
class Writing:
    """Writes to the storage as a kube-apiserver lets them through."""

    clock: Clock
    rng: random.Random
    storage: Storage

    def create(self, target: Target, body: Any, request: Request) -> Object:
        """POST to a collection."""
        obj = decoded(target, body)
        head = obj["metadata"]
        if head.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        named = self._named(target, head)
        self._check_namespace(named)
        if named.key in self._objects(named):
            raise status.already_exists(target.resource.group, target.resource.plural, named.name)
        return self._store(named, preparing.created(named, obj, self.clock.now(), self.rng), request)

    def update(self, target: Target, body: Any, request: Request) -> tuple[Object, bool]:
        """PUT of an object or a subresource; the object and whether it is new."""
        obj = decoded(target, body)
        head = obj["metadata"]
        if head.get("name", "") != target.name:
            found, wanted = head.get("name", ""), target.name
            raise status.bad_request(
                f"the name of the object ({found}) does not match the name on the URL ({wanted})"
                if found
                else "name must be provided"
            )
        old = self._objects(target).get(target.key)
        if old is None:
            if not target.kind.create_on_update or target.subresource or head.get("uid"):
                raise status.not_found(target.resource.group, target.resource.plural, target.name)
            self._check_namespace(target)
            return self._store(target, preparing.created(target, obj, self.clock.now(), self.rng), request), True
        if not head.get("resourceVersion") and not target.kind.unconditional:
            cause = Cause(
                field="metadata.resourceVersion",
                reason="FieldValueInvalid",
                message="Invalid value: 0: must be specified for an update",
            )
            raise status.invalid(target.resource.group, target.resource.kind, target.name, [cause])
        return self.replace(target, old, obj, request), False

    def patch(self, target: Target, body: Any, request: Request) -> Object:
        """PATCH of what exists, by the content type of the request."""
        old = self._objects(target).get(target.key)
        if old is None:
            raise status.not_found(target.resource.group, target.resource.plural, target.name)
        content_type = request.content_type.partition(";")[0]
        if content_type == MERGE:
            new = patches.merged(old, body)
        elif content_type == JSON_PATCH:
            new = patches.patched(old, body)
        else:
            raise status.unsupported_media_type((JSON_PATCH, MERGE))
        return self.replace(target, old, decoded(target, new), request)

    def replace(self, target: Target, old: Object, body: Object, request: Request) -> Object:
        """Put an object in the place of another, when it is still the one that is meant."""
        self._check_preconditions(target, old, body["metadata"])
        new = preparing.updated(target, old, body)
        if preparing.same(old, new):
            return old
        if is_deleting(new) and not finalizers(new) and not new["metadata"].get("deletionGracePeriodSeconds"):
            return new if request.dry_run else self.storage.remove(target.kind.group_resource, target.key, new)
        return self._store(target, new, request)

    def _store(self, target: Target, obj: Object, request: Request) -> Object:
        return obj if request.dry_run else self.storage.write(target.kind.group_resource, target.key, obj)

    def _named(self, target: Target, head: Object) -> Target:
        name, prefix = head.get("name") or "", head.get("generateName") or ""
        if name:
            return evolve(target, name=name)
        if not prefix:
            cause = Cause(
                field="metadata.name",
                reason="FieldValueRequired",
                message="Required value: name or generateName is required",
            )
            raise status.invalid(target.resource.group, target.resource.kind, "", [cause])
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
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            raise status.forbidden(target.resource.group, target.resource.plural, target.name, why)

    def _check_preconditions(self, target: Target, old: Object, head: Object) -> None:
        version, uid = head.get("resourceVersion") or "", head.get("uid") or ""
        group, plural, found = target.resource.group, target.resource.plural, old["metadata"]["uid"]
        if uid and uid != found:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
            raise status.conflict(group, plural, target.name, why)
        if version and version != old["metadata"]["resourceVersion"]:
            raise status.conflict(group, plural, target.name, status.MODIFIED)

    def _objects(self, target: Target) -> dict[str, Object]:
        return self.storage.collection(target.kind.group_resource).objects


def decoded(target: Target, body: Any) -> Object:
    """A body as an object of the target's kind and place; raises a `RefusalError` 400 when it is another."""
    if not isinstance(body, dict):
        raise status.bad_request("the object provided is unrecognized (must be of type object)")
    wanted = {"apiVersion": target.resource.api_version, "kind": target.resource.kind}
    for key, value in wanted.items():
        if body.get(key, value) != value:
            raise status.bad_request(
                f"{key} in the data ({body[key]}) does not match the expected {key} ({value}) of the path"
            )
    head = body.get("metadata") or {}
    namespace = head.get("namespace") or target.namespace
    if namespace != target.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    return body | {"metadata": head}
