"""The volumes of a serving pod and where they are mounted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from attrs import field, frozen

from inference_server import contract
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import Runtime
from kaito_controller.catalog.placeholders import fill
from kaito_controller.workloads.secrets import secret_volumes
from kaito_controller.workloads.weights import Weights
from kaito_controller.workloads.weights_cache import WeightsCache, with_cache


@frozen(kw_only=True)
class PodVolumes:
    """Volumes of a pod, and their mounts in the engine's container; `agent_mounts` are those of the agent's."""

    volumes: list[dict[str, Any]]
    mounts: list[dict[str, Any]]
    agent_mounts: list[dict[str, Any]] = field(factory=list)


def pod_volumes(
    workspace: Workspace,
    runtime: Runtime,
    parameters: Mapping[str, str],
    weights: Weights | None = None,
    cache: WeightsCache | None = None,
) -> PodVolumes:
    """Shared memory, the user's configuration, what the runtime asks for, then what brings the model.

    Shared memory is a memory emptyDir because a container's own is 64 MiB, and vLLM's processes speak through it.
    Files that the agent fetches are not the engine's to write.
    """
    volumes: list[dict[str, Any]] = [{"name": "dshm", "emptyDir": {"medium": "Memory"}}]
    mounts: list[dict[str, Any]] = [{"name": "dshm", "mountPath": contract.SHARED_MEMORY_DIRECTORY}]
    if workspace.inference is not None and workspace.inference.config:
        volumes.append({"name": "config-volume", "configMap": {"name": workspace.inference.config}})
        mounts.append({"name": "config-volume", "mountPath": contract.CONFIG_DIRECTORY, "readOnly": True})
    base = with_runtime([], [], runtime, parameters)
    fetch = weights.fetch if weights is not None else None
    if weights is None or fetch is None:
        more = [dict(volume) for volume in weights.volumes] if weights is not None else []
        read = [dict(mount) for mount in weights.mounts] if weights is not None else []
        seen = [*base.mounts, *read]
        return PodVolumes(volumes=[*volumes, *base.volumes, *more], mounts=[*mounts, *seen], agent_mounts=seen)
    secrets, secret_mounts = secret_volumes("weights-secret", fetch.pull_secrets)
    kept = with_cache(base.volumes, base.mounts, cache or WeightsCache())
    return PodVolumes(
        volumes=[*volumes, *kept, *secrets],
        mounts=[*mounts, *(_read_only(mount) for mount in base.mounts)],
        agent_mounts=[*base.mounts, *secret_mounts],
    )


def _read_only(mount: dict[str, Any]) -> dict[str, Any]:
    return {**mount, "readOnly": True} if mount["mountPath"] == contract.WEIGHTS_DIRECTORY else mount


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
