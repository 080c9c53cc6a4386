"""Where fetched files are kept: with the pod, on the node's disk for all its pods, or in a volume of each replica."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Self

from attrs import frozen

from inference_server import contract
from kaito_controller.kube import quantity
from kaito_controller.kube.metadata import Object


class CacheKind(StrEnum):
    """What the operator can be told."""

    POD = "pod"
    HOST_PATH = "hostPath"
    STORAGE_CLASS = "storageClass"


@frozen(kw_only=True)
class WeightsCache:
    """One of them, with the node's folder or the StorageClass's name."""

    kind: CacheKind = CacheKind.POD
    place: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `pod`, `hostPath:FOLDER` or `storageClass:NAME`; raises ValueError."""
        name, _, place = text.partition(":")
        kind = CacheKind(name) if name in set(CacheKind) else None
        if kind is CacheKind.HOST_PATH and not (place.startswith("/") and ".." not in PurePosixPath(place).parts):
            raise ValueError(f"hostPath wants an absolute folder of the node, found {place!r}")
        if kind is None or bool(place) != (kind is not CacheKind.POD):
            raise ValueError(f"wants pod, hostPath:FOLDER or storageClass:NAME, found {text!r}")
        return cls(kind=kind, place=place)


def with_cache(
    volumes: Iterable[dict[str, Any]], mounts: Iterable[dict[str, Any]], cache: WeightsCache
) -> list[dict[str, Any]]:
    """The pod's volumes with the one for weights as the cache says; a replica's own volume is not among them."""
    name = volume_name(mounts)
    if cache.kind is CacheKind.POD or name is None:
        return list(volumes)
    others = [volume for volume in volumes if volume["name"] != name]
    if cache.kind is CacheKind.STORAGE_CLASS:
        return others
    return [*others, {"name": name, "hostPath": {"path": cache.place, "type": "DirectoryOrCreate"}}]


def claim_templates(mounts: Iterable[Mapping[str, Any]], cache: WeightsCache, size_bytes: int) -> list[Object]:
    """The claims that each replica gets; none where the cache is no StorageClass's."""
    name = volume_name(mounts)
    if cache.kind is not CacheKind.STORAGE_CLASS or name is None:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": cache.place,
                "resources": {"requests": {"storage": quantity.format_bytes(size_bytes)}},
            },
        }
    ]


def volume_name(mounts: Iterable[Mapping[str, Any]]) -> str | None:
    """The volume that the runtime mounts for weights; None when it mounts none."""
    found = (str(mount["name"]) for mount in mounts if mount["mountPath"] == contract.WEIGHTS_DIRECTORY)
    return next(found, None)
