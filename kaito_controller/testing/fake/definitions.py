"""CustomResourceDefinitions at work: what they declare is served at once, and no longer once they are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import evolve, field, frozen

from kaito_controller.kube.core import CUSTOM_RESOURCE_DEFINITIONS
from kaito_controller.kube.metadata import Object, finalizers, is_deleting, metadata, split_key
from kaito_controller.kube.resource import Resource
from kaito_controller.kube.timestamps import format_timestamp
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake.kinds import EVERYTHING, Kind, Kinds
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.storage import Storage

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_COLLECTION = "customresourcedefinitions.apiextensions.k8s.io"
_API_VERSION = CUSTOM_RESOURCE_DEFINITIONS.api_version


@frozen(kw_only=True)
class Definitions:
    """Keeps the served kinds in step with the stored definitions.

    Args:
        cut: ends the watches on a collection that is served no longer.
        delete: deletes one object, which its finalizers may keep.
    """

    clock: Clock
    storage: Storage
    kinds: Kinds
    cut: Callable[[str], None]
    delete: Callable[[Target], None]
    _served: dict[str, list[Kind]] = field(factory=dict)

    def settle(self) -> None:
        """Take up what was written since; to be called after every write of a definition."""
        collection = self.storage.collection(_COLLECTION)
        for name in list(collection.keys):
            definition = collection.objects[name]
            if is_deleting(definition):
                self._clean_up(name, definition)
            else:
                self._serve(name, definition)
        for name in [name for name in self._served if name not in collection.objects]:
            self._stop(name)

    def _serve(self, name: str, definition: Object) -> None:
        for kind in self._served.get(name, ()):
            self.kinds.remove(kind)
        self._served[name] = list(_declared(definition))
        for kind in self._served[name]:
            self.kinds.add(kind)
            self.storage.collection(kind.group_resource)
        if not (definition.get("status") or {}).get("conditions"):
            head = definition["metadata"] | {"finalizers": [*finalizers(definition), CLEANUP]}
            body = definition | {"metadata": head, "status": self._status(definition)}
            self.storage.write(_COLLECTION, name, body)

    def _status(self, definition: Object) -> Object:
        at = format_timestamp(self.clock.now())
        reasons = {"NamesAccepted": "NoConflicts", "Established": "InitialNamesAccepted"}
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": at, "reason": reason, "message": ""}
            for kind, reason in reasons.items()
        ]
        spec = definition["spec"]
        stored = [version["name"] for version in spec["versions"] if version.get("storage")]
        return {"conditions": conditions, "acceptedNames": spec["names"], "storedVersions": stored}

    def is_concerned(self, resource: Resource) -> bool:
        """Whether a write of that kind may have changed what is served."""
        if resource == CUSTOM_RESOURCE_DEFINITIONS:
            return True
        kind = self.kinds.find(resource.group, resource.version, resource.plural)
        return kind is not None and kind.closing

    def _clean_up(self, name: str, definition: Object) -> None:
        """Delete every custom object, and once their finalizers have let go of all, the definition."""
        served = self._served.get(name, [])
        for kind in served:
            self.kinds.add(evolve(kind, closing=True))
        for kind in served[:1]:
            collection = self.storage.collection(kind.group_resource)
            for key in list(collection.keys):
                if not is_deleting(collection.objects[key]):
                    space, own = split_key(key)
                    self.delete(Target(kind=kind, namespace=space, name=own))
            if collection.keys:
                return
        left = [found for found in finalizers(definition) if found != CLEANUP]
        if left:
            head = {**metadata(definition), "finalizers": left}
            self.storage.write(_COLLECTION, name, definition | {"metadata": head})
        else:
            self.storage.remove(_COLLECTION, name)

    def _stop(self, name: str) -> None:
        for kind in self._served.pop(name):
            self.kinds.remove(kind)
            self.cut(kind.group_resource)


def _declared(definition: Object) -> Iterator[Kind]:
    spec = definition["spec"]
    names = spec["names"]
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = frozenset(version.get("subresources") or ())
        resource = Resource(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            namespaced=spec["scope"] == "Namespaced",
        )
        yield Kind(
            resource=resource,
            subresources=subresources,
            generation=EVERYTHING,
            fields={path: path for path in _selectable(version)},
            short_names=tuple(names.get("shortNames") or ()),
            singular=names.get("singular") or names["kind"].lower(),
            categories=tuple(names.get("categories") or ()),
            custom=True,
            unconditional=False,
            schema=(version.get("schema") or {}).get("openAPIV3Schema"),
            columns=tuple(version.get("additionalPrinterColumns") or ()),
        )


def _selectable(version: Any) -> Iterator[str]:
    for entry in version.get("selectableFields") or ():
        yield entry["jsonPath"].removeprefix(".")
