"""A custom kind for tests, with every sort of list, a default, a limit and a selectable field."""

from __future__ import annotations

from typing import Any

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource

GADGETS = Resource(group="example.com", version="v1", kind="Gadget", plural="gadgets", namespaced=True)

_STRING = {"type": "string"}
_PART = {"type": "object", "required": ["name"], "properties": {"name": _STRING, "value": _STRING}}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "default": "red"},
                "shape": {"type": "string", "enum": ["round", "square"]},
                "parts": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": _PART,
                },
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": _STRING},
                "plain": {"type": "array", "items": _STRING},
                "settings": {"type": "object", "additionalProperties": _STRING},
                "whole": {
                    "type": "object",
                    "x-kubernetes-map-type": "atomic",
                    "properties": {"a": _STRING, "b": _STRING},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"phase": _STRING, "count": {"type": "integer"}}},
    },
}


def definition(resource: Resource = GADGETS, *, status: bool = True, schema: dict[str, Any] | None = None) -> Object:
    """The CustomResourceDefinition of a kind with that schema, or with the one of the gadgets."""
    version: Object = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema or SCHEMA},
    }
    if status:
        version["subresources"] = {"status": {}}
    if schema is None:
        version["selectableFields"] = [{"jsonPath": ".spec.color"}]
        version["additionalPrinterColumns"] = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "kind": resource.kind,
                "listKind": resource.list_kind,
                "shortNames": ["gd"] if resource is GADGETS else [],
            },
            "versions": [version],
        },
    }


def gadget(name: str, namespace: str, **spec: Any) -> Object:
    """A gadget of size 1, unless told otherwise."""
    return {
        "apiVersion": GADGETS.api_version,
        "kind": GADGETS.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"size": 1} | spec,
    }
