"""A kind of our own as a CustomResourceDefinition."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from kaito_controller.kube import schema
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource


@frozen
class PrinterColumn:
    """A column of `kubectl get`; wide ones (priority above 0) only with `-o wide`."""

    name: str
    json_path: str
    type: str = "string"
    description: str = ""
    priority: int = 0

    def as_json(self) -> Object:
        """The entry of `additionalPrinterColumns`."""
        made: Object = {"name": self.name, "type": self.type, "jsonPath": self.json_path}
        if self.description:
            made["description"] = self.description
        if self.priority:
            made["priority"] = self.priority
        return made


@frozen(kw_only=True)
class ServedVersion:
    """A version under which the kind is served."""

    name: str
    columns: tuple[PrinterColumn, ...]


@frozen(kw_only=True)
class CustomKind:
    """A kind with its schema. All versions share the schema, so that none loses a field of another.

    The version of `resource` is the stored one and must be among `versions`.
    """

    resource: Resource
    cls: type[Any]
    versions: tuple[ServedVersion, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(factory=dict)

    def definition(self) -> Object:
        """The CustomResourceDefinition, complete."""
        names: Object = {
            "kind": self.resource.kind,
            "listKind": self.resource.list_kind,
            "plural": self.resource.plural,
            "singular": self.resource.kind.lower(),
        }
        if self.short_names:
            names["shortNames"] = list(self.short_names)
        if self.categories:
            names["categories"] = list(self.categories)
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{self.resource.plural}.{self.resource.group}", "labels": dict(self.labels)},
            "spec": {
                "group": self.resource.group,
                "names": names,
                "scope": "Namespaced" if self.resource.namespaced else "Cluster",
                "versions": [self._version(version) for version in self.versions],
            },
        }

    def _version(self, version: ServedVersion) -> Object:
        return {
            "name": version.name,
            "served": True,
            "storage": version.name == self.resource.version,
            "subresources": {"status": {}},
            "additionalPrinterColumns": [column.as_json() for column in version.columns],
            "schema": {"openAPIV3Schema": copy.deepcopy(schema.of_class(self.cls))},
        }
