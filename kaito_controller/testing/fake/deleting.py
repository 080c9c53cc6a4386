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
from kaito_controller.testing.fake.status import Cause
from kaito_controller.testing.fake.storage import Storage

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_POLICIES = {"Foreground": FOREGROUND, "Orphan": ORPHAN}
_SUPPORTED = ("Foreground", "Background", "Orphan")
_PRECONDITIONS = {
    "uid": ("UID", "deleted and then recreated"),
    "resourceVersion": ("ResourceVersion", "modified"),
}
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
        graceful = target.resource == core.PODS
        if request.dry_run:
            return _answer(target, found)
        if not finalizers(kept) and not grace_s and not self._is_kept(target, found):
            if graceful:
                self._write(target, found, self._marked(target, kept, 0))
            gone = self.storage.remove(target.kind.group_resource, target.key)
            return gone if target.kind.answers_deleted else _answer(target, found)
        return self._write(target, found, self._marked(target, kept, grace_s))

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

    def _write(self, target: Target, old: Object, new: Object) -> Object:
        if preparing.same(old, new):
            return old
        return self.storage.write(target.kind.group_resource, target.key, new)

    def _marked(self, target: Target, obj: Object, grace_s: int) -> Object:
        moment = self.clock.now() + timedelta(seconds=grace_s)
        if target.resource == core.NAMESPACES:
            phase = {"status": (obj.get("status") or {}) | {"phase": "Terminating"}}
            return obj if is_deleting(obj) else preparing.marked(obj, moment, None) | phase
        if not is_deleting(obj):
            return preparing.marked(obj, moment, grace_s)
        if grace_s >= (obj["metadata"].get("deletionGracePeriodSeconds") or 0):
            return obj
        counted = obj["metadata"].get("generation", 0)
        shortened = preparing.marked(obj, moment, grace_s)
        return shortened | {"metadata": shortened["metadata"] | {"generation": counted}}

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
        for key, (word, why) in _PRECONDITIONS.items():
            if wanted.get(key) and wanted[key] != head[key]:
                told = (
                    f"the {word} in the precondition ({wanted[key]}) does not match the {word} in record"
                    f" ({head[key]}). The object might have been {why}"
                )
                raise status.conflict(target.resource.group, target.resource.kind, target.name, told)


def _options(body: Any, request: Request) -> Object:
    options: Object = dict(body) if isinstance(body, dict) else {}
    if "propagationPolicy" in request.query:
        options["propagationPolicy"] = request.query["propagationPolicy"]
    policy = options.get("propagationPolicy")
    if policy is not None and policy not in _SUPPORTED:
        listed = ", ".join(f'"{choice}"' for choice in (*_SUPPORTED, "nil"))
        message = f'Unsupported value: "{policy}": supported values: {listed}'
        cause = Cause(field="propagationPolicy", reason="FieldValueNotSupported", message=message)
        raise status.invalid("meta.k8s.io", "DeleteOptions", "", [cause])
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
