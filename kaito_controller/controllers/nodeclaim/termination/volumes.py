"""Volumes that must come off a drained Node before its machine ends, so that they can be attached elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kaito_controller.kube import metadata
from kaito_controller.kube.core import PERSISTENT_VOLUME_CLAIMS, VOLUME_ATTACHMENTS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client


async def attached(client: Client, node: str, staying: Sequence[Object]) -> list[str]:
    """Names of the persistent volumes still attached to the Node, except those of pods that stay on it."""
    volumes = attachments_to(await client.list(VOLUME_ATTACHMENTS), node)
    if not volumes:
        return []
    kept = await _volumes_of(client, staying)
    return sorted(volume for volume in volumes if volume not in kept)


def attachments_to(attachments: Iterable[Object], node: str) -> set[str]:
    """Names of the persistent volumes that VolumeAttachments tie to a Node; volumes without a name are not counted."""
    found = set()
    for attachment in attachments:
        spec: Mapping[str, Any] = attachment.get("spec") or {}
        volume = (spec.get("source") or {}).get("persistentVolumeName")
        if spec.get("nodeName") == node and volume:
            found.add(str(volume))
    return found


async def _volumes_of(client: Client, pods: Sequence[Object]) -> set[str]:
    found = set()
    for pod in pods:
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if claim:
                found.add(await _volume_of(client, str(claim), metadata.namespace(pod)))
    return found


async def _volume_of(client: Client, claim: str, namespace: str) -> str:
    bound = await client.find(PERSISTENT_VOLUME_CLAIMS, claim, namespace) or {}
    return str((bound.get("spec") or {}).get("volumeName") or "")
