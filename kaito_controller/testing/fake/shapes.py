"""The shape of objects as server-side apply sees them: what is one value, what is a map, what a list with keys.

Custom kinds say it in their schema (`x-kubernetes-list-type` and its kin). For the built-in kinds it is told here by
the names of fields, as far as the operator's own objects go; a list that is not named is one value.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from attrs import field, frozen

from kaito_controller.testing.fake import fieldsets

Form = Literal["leaf", "map", "list", "set"]


@frozen(kw_only=True)
class Shape:
    """What a value is.

    Attributes:
        form: one value, a granular map, a list of objects with keys, or a list of distinct scalars.
        fields: the shapes of a map's declared fields.
        others: the shape of a map's further entries; None when there are none.
        item: the shape of a keyed list's items.
        keys: a keyed list's keys, each with its default or None.
        deduced: whether nothing is declared, so that the value itself tells: maps are granular, lists are not.
        built_in: the field's name in a built-in kind, by which its shape is looked up; empty elsewhere.
    """

    form: Form = "leaf"
    fields: Mapping[str, Shape] = field(factory=dict)
    others: Shape | None = None
    item: Shape | None = None
    keys: Mapping[str, Any] = field(factory=dict)
    deduced: bool = False
    built_in: str = ""

    def of(self, value: Any) -> Shape:
        """The shape as this value makes it."""
        if self.deduced:
            return DEDUCED_MAP if isinstance(value, dict) else LEAF
        if self.built_in:
            return _of_built_in(self.built_in, value)
        return self

    def of_field(self, name: str) -> Shape:
        """The shape of a map's entry."""
        if name in self.fields:
            return self.fields[name]
        if self.built_in:
            return _built_in(f"{self.built_in.rpartition('.')[2]}.{name}")
        return self.others or LEAF

    def declares(self, name: str) -> bool:
        """Whether the entry is a field of a struct rather than one of a free map."""
        return name in self.fields or bool(self.built_in)

    def element(self, item: Any) -> str:
        """How an item of a list is called in a set of fields."""
        if self.form == "set":
            return fieldsets.value(item)
        keys = {key: item.get(key, default) for key, default in self.keys.items()}
        return fieldsets.key({key: found for key, found in keys.items() if found is not None})


LEAF = Shape()
DEDUCED = Shape(deduced=True)
DEDUCED_MAP = Shape(form="map", others=DEDUCED)
FREE_MAP = Shape(form="map", others=LEAF)
SET = Shape(form="set")
BUILT_IN = Shape(built_in=".")
METADATA = Shape(built_in=".metadata")

_KEYED: Mapping[str, Mapping[str, Any]] = {
    "metadata.ownerReferences": {"uid": None},
    "conditions": {"type": None},
    "containers": {"name": None},
    "initContainers": {"name": None},
    "ephemeralContainers": {"name": None},
    "env": {"name": None},
    "volumes": {"name": None},
    "volumeMounts": {"mountPath": None},
    "volumeDevices": {"devicePath": None},
    "imagePullSecrets": {"name": None},
    "secrets": {"name": None},
    "claims": {"name": None},
    "resourceClaims": {"name": None},
    "schedulingGates": {"name": None},
    "hostAliases": {"ip": None},
    "podIPs": {"ip": None},
    "addresses": {"type": None},
    "topologySpreadConstraints": {"topologyKey": None, "whenUnsatisfiable": None},
    "containers.ports": {"containerPort": None, "protocol": "TCP"},
    "initContainers.ports": {"containerPort": None, "protocol": "TCP"},
    "spec.ports": {"port": None, "protocol": "TCP"},
}
_SETS = {"metadata.finalizers", "podCIDRs", "loadBalancerSourceRanges"}
_FREE_MAPS = {
    "labels",
    "annotations",
    "data",
    "binaryData",
    "stringData",
    "limits",
    "requests",
    "capacity",
    "allocatable",
    "attributes",
    "deprecatedCount",
}
_ATOMIC_MAPS = {
    "selector",
    "labelSelector",
    "namespaceSelector",
    "nodeSelector",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "resourceFieldRef",
    "claimRef",
    "regarding",
    "related",
    "involvedObject",
    "requiredDuringSchedulingIgnoredDuringExecution",
}


# A simulation compares objects ten thousand times a second, and shapes of equal names are equal.
@cache
def _built_in(name: str) -> Shape:
    return Shape(built_in=name)


@cache
def _built_in_map(name: str) -> Shape:
    return Shape(form="map", built_in=name)


def _of_built_in(name: str, value: Any) -> Shape:
    last = name.rpartition(".")[2]
    if isinstance(value, list):
        if name in _SETS or last in _SETS:
            return SET
        keys = _KEYED.get(name) or _KEYED.get(last)
        return Shape(form="list", keys=keys, item=_built_in(name)) if keys else LEAF
    if not isinstance(value, dict) or last in _ATOMIC_MAPS:
        return LEAF
    if last in _FREE_MAPS:
        return FREE_MAP
    return _built_in_map(name)


def of_schema(schema: Mapping[str, Any]) -> Shape:
    """The shape that a structural OpenAPI schema declares."""
    match schema.get("type"):
        case "object":
            return _of_object(schema)
        case "array":
            return _of_array(schema)
    return DEDUCED if schema.get("x-kubernetes-preserve-unknown-fields") else LEAF


def of_root(schema: Mapping[str, Any] | None) -> Shape:
    """The shape of a whole custom object."""
    declared = of_schema(schema) if schema else DEDUCED
    head = {"apiVersion": LEAF, "kind": LEAF, "metadata": METADATA}
    if declared.deduced:
        return Shape(form="map", fields=head, others=DEDUCED)
    return Shape(form="map", fields={**declared.fields, **head}, others=declared.others)


def _of_object(schema: Mapping[str, Any]) -> Shape:
    if schema.get("x-kubernetes-map-type") == "atomic":
        return LEAF
    others: Shape | None = None
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        others = DEDUCED
    if isinstance(schema.get("additionalProperties"), dict):
        others = of_schema(schema["additionalProperties"])
    fields = {name: of_schema(part) for name, part in (schema.get("properties") or {}).items()}
    if not fields and others is DEDUCED:
        return DEDUCED
    return Shape(form="map", fields=fields, others=others)


def _of_array(schema: Mapping[str, Any]) -> Shape:
    items = schema.get("items") or {}
    if schema.get("x-kubernetes-list-type") == "set":
        return Shape(form="set")
    if schema.get("x-kubernetes-list-type") != "map":
        return LEAF
    properties = items.get("properties") or {}
    keys = {key: (properties.get(key) or {}).get("default") for key in schema.get("x-kubernetes-list-map-keys") or ()}
    return Shape(form="list", keys=keys, item=of_schema(items))
