"""DELETE: at once, after a grace period, or once the last finalizer is gone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import evolve, frozen

from kaito_controller.kube import core
from kaito_controller.kube.metadata import Object, finalizers, is_deleting
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake import preparing, status
from kaito_controller.testing.fake.request import Request
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.selectors import selection
from kaito_controller.testing.fake.storage import Storage

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_POLICIES = {"Foreground": FOREGROUND, "Orphan": ORPHAN}
_FINISHED = {"Succeeded", "Failed"}


@frozen(kw_only=True)
class Deleting:
    """Deletes from the storage as a kube-apiserver does; what a garbage collector would do next, nobody does."""

    clock: Clock
    storage: Storage

    def delete(self, target: Target, body: Any, request: Request) -> Object:
        """Delete an object; the answer is a Status once it is gone, the object while something keeps it."""
        options = _options(body, request)
        found = self.storage.collection(target.kind.group_resource).objects.get(target.key)
        if found is None:
            raise status.not_found(target.resource.group, target.resource.plural, target.name)
        self._check_preconditions(target, found, options.get("preconditions") or {})
        grace_s = self._grace_s(target, found, options)
        kept = self._finalized(found, options)
        if not finalizers(kept) and not grace_s and not self._is_kept(target, found):
            if request.dry_run:
                return found
            gone = self.storage.remove(target.kind.group_resource, target.key)
            return gone if target.kind.answers_deleted else _answer(target, found)
        new = self._marked(kept, grace_s)
        if target.resource == core.NAMESPACES:
            new |= {"status": (new.get("status") or {}) | {"phase": "Terminating"}}
        if preparing.same(found, new) or request.dry_run:
            return found
        return self.storage.write(target.kind.group_resource, target.key, new)

    def delete_collection(self, target: Target, body: Any, request: Request) -> list[Object]:
        """Delete everything that the selectors match; the objects as they were."""
        selected = selection(target.kind, target.namespace, "", request.query)
        collection = self.storage.collection(target.kind.group_resource)
        matched = [collection.objects[key] for key in collection.keys if selected.matches(collection.objects[key])]
        for obj in matched:
            head = obj["metadata"]
            one = evolve(target, name=head["name"], namespace=head.get("namespace") or "")
            self.delete(one, body, request)
        return matched

    def _marked(self, obj: Object, grace_s: int) -> Object:
        if not is_deleting(obj):
            return preparing.marked(obj, self.clock.now() + timedelta(seconds=grace_s), grace_s)
        before = obj["metadata"].get("deletionGracePeriodSeconds") or 0
        if grace_s >= before:
            return obj
        shortened = preparing.marked(obj, self.clock.now() + timedelta(seconds=grace_s), grace_s)
        return shortened | {"metadata": shortened["metadata"] | {"generation": obj["metadata"].get("generation", 0)}}

    def _finalized(self, obj: Object, options: Object) -> Object:
        """The object with the finalizer of a propagation policy, and without those of the others."""
        if is_deleting(obj) and not options.get("propagationPolicy"):
            return obj
        wanted = _POLICIES.get(options.get("propagationPolicy") or "")
        names = [name for name in finalizers(obj) if name not in {FOREGROUND, ORPHAN}]
        if not options.get("propagationPolicy"):
            names = list(finalizers(obj))
        names += [wanted] if wanted else []
        head = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
        return obj | {"metadata": head | ({"finalizers": names} if names else {})}

    def _is_kept(self, target: Target, obj: Object) -> bool:
        """A namespace stays until what is in it was deleted and its own finalizer was taken away."""
        return target.resource == core.NAMESPACES and bool((obj.get("spec") or {}).get("finalizers"))

    def _grace_s(self, target: Target, obj: Object, options: Object) -> int:
        """Only pods on a node that have not finished get a grace period (registry/core/pod/strategy.go)."""
        if target.resource != core.PODS:
            return 0
        spec = obj.get("spec") or {}
        if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in _FINISHED:
            return 0
        asked = options.get("gracePeriodSeconds")
        return int(spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked)

    def _check_preconditions(self, target: Target, obj: Object, wanted: Object) -> None:
        head = obj["metadata"]
        words = {"uid": "UID", "resourceVersion": "ResourceVersion"}
        for key, word in words.items():
            if wanted.get(key) and wanted[key] != head[key]:
                why = f"Precondition failed: {word} in precondition: {wanted[key]}, {word} in object meta: {head[key]}"
                raise status.conflict(target.resource.group, target.resource.plural, target.name, why)


def _options(body: Any, request: Request) -> Object:
    options: Object = dict(body) if isinstance(body, dict) else {}
    for key in ("propagationPolicy",):
        if key in request.query:
            options[key] = request.query[key]
    if request.query.get("gracePeriodSeconds", "").isdigit():
        options["gracePeriodSeconds"] = int(request.query["gracePeriodSeconds"])
    return options


def _answer(target: Target, obj: Object) -> Object:
    details = {
        "name": target.name,
        "group": target.resource.group,
        "kind": target.resource.plural,
        "uid": obj["metadata"]["uid"],
    }
    return status.success(details)
