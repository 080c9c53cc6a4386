"""The volumes of a serving pod and where they are mounted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from attrs import frozen

from inference_server import contract
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import Runtime
from kaito_controller.catalog.placeholders import fill


@frozen(kw_only=True)
class PodVolumes:
    """Volumes of a pod, and their mounts in its one container."""

    volumes: list[dict[str, Any]]
    mounts: list[dict[str, Any]]


def pod_volumes(workspace: Workspace, runtime: Runtime, parameters: Mapping[str, str]) -> PodVolumes:
    """Shared memory, the user's configuration, then what the runtime asks for.

    Shared memory is a memory emptyDir because a container's own is 64 MiB, and vLLM's processes speak through it.
    """
    volumes: list[dict[str, Any]] = [{"name": "dshm", "emptyDir": {"medium": "Memory"}}]
    mounts: list[dict[str, Any]] = [{"name": "dshm", "mountPath": contract.SHARED_MEMORY_DIRECTORY}]
    if workspace.inference is not None and workspace.inference.config:
        volumes.append({"name": "config-volume", "configMap": {"name": workspace.inference.config}})
        mounts.append({"name": "config-volume", "mountPath": contract.CONFIG_DIRECTORY, "readOnly": True})
    return with_runtime(volumes, mounts, runtime, parameters)


def with_runtime(
    volumes: list[dict[str, Any]], mounts: list[dict[str, Any]], runtime: Runtime, parameters: Mapping[str, str]
) -> PodVolumes:
    """A pod's own volumes, then what the runtime asks for."""
    volumes = [*volumes, *fill(runtime.volumes, parameters)]
    mounts = [*mounts, *fill(runtime.volume_mounts, parameters)]
    for index, folder in enumerate(_missing_folders(fill(runtime.host_folders, parameters), volumes, mounts)):
        volumes.append({"name": f"host-{index}", "hostPath": {"path": folder, "type": "Directory"}})
        mounts.append({"name": f"host-{index}", "mountPath": folder, "readOnly": True})
    return PodVolumes(volumes=volumes, mounts=mounts)


def _missing_folders(wanted: list[str], volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> list[str]:
    """The node's folders that no other mount brings along; outer ones first."""
    kept = [PurePosixPath(folder) for folder in _already_mounted(volumes, mounts)]
    missing = []
    for folder in sorted({PurePosixPath(folder) for folder in wanted}):
        if not any(folder.is_relative_to(other) for other in kept):
            kept.append(folder)
            missing.append(str(folder))
    return missing


def _already_mounted(volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> list[str]:
    """Folders of the node that are mounted whole at the path they have on the node."""
    host_paths = {volume["name"]: volume["hostPath"]["path"] for volume in volumes if "hostPath" in volume}
    return [
        mount["mountPath"]
        for mount in mounts
        if host_paths.get(mount["name"]) == mount["mountPath"] and "subPath" not in mount
    ]
