"""LoRA adapters in a serving pod: what the engine has room for, the agent beside it, and the list that it reads.

What the pods have room for is in their template, so a change of it restarts them. Which adapters are wanted is in a
ConfigMap, so a change of that does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from inference_server import contract
from kaito_controller.api.workspace import AdapterSpec, Workspace
from kaito_controller.catalog.model import Preset
from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.workloads.children import child_metadata
from kaito_controller.workloads.runtimes import vllm
from kaito_controller.workloads.secrets import secret_volumes
from kaito_controller.workloads.weights import Weights

SUFFIX: Final = "-adapters"
HUB: Final = "hf://"
CACHE_VOLUME: Final = "adapters"
WANTED_VOLUME: Final = "wanted-adapters"
_SECRET_VOLUME: Final = "adapter-secret"  # noqa: S105 (the beginning of volumes' names)
# The ranks that vLLM 0.32 has room for (vllm.config.lora, MaxLoRARanks).
RANKS: Final = (16, 32, 64, 128, 256, 320, 512)
# Adapters that may act in one step of the engine, each a slot on the GPU; further ones take turns.
SLOTS: Final = 4
# Adapters that the engine keeps in host memory; others it reads from the disk when they are asked for.
HOST_SLOTS: Final = 16


@frozen(kw_only=True)
class AdapterRoom:
    """What the pods of a Workspace have room for: slots and rank on the GPU, and where adapters may come from."""

    slots: int = SLOTS
    max_rank: int = RANKS[0]
    secrets: tuple[str, ...] = ()
    volumes: Mapping[str, Mapping[str, Any]] = field(factory=dict)

    @property
    def engine_arguments(self) -> tuple[str, ...]:
        """What the engine is told, in the order of the names."""
        return (
            contract.ARG_ENABLE_LORA,
            *(contract.ARG_MAX_CPU_LORAS, str(max(self.slots, HOST_SLOTS))),
            *(contract.ARG_MAX_LORA_RANK, str(self.max_rank)),
            *(contract.ARG_MAX_LORAS, str(self.slots)),
        )

    @property
    def volume_list(self) -> list[dict[str, Any]]:
        """The volumes of a pod. Of a Secret or list that is not there the pod's start does not depend."""
        made: list[dict[str, Any]] = [{"name": CACHE_VOLUME, "emptyDir": {}}]
        for name, source in sorted(self.volumes.items()):
            made.append({"name": volume_name(name), **source})
        return [*made, *secret_volumes(_SECRET_VOLUME, self.secrets)[0]]


def specs(workspace: Workspace) -> tuple[AdapterSpec, ...]:
    """The adapters that a Workspace wants."""
    return workspace.inference.adapters if workspace.inference is not None else ()


def room_for_rank(rank: int) -> int | None:
    """The lowest rank to start the engine with that has room for `rank`; None when there is none so high."""
    return next((one for one in RANKS if one >= rank), None)


def map_name(workspace: Workspace) -> str:
    """The name of the ConfigMap with the wanted adapters."""
    return workspace.metadata.name + SUFFIX


def volume_name(adapter: str) -> str:
    """The name of the volume that an adapter comes from, as upstream names it."""
    return f"adapter-volume-{adapter}"


def source_of(adapter: AdapterSpec) -> str:
    """What the agent calls the adapter's source."""
    entry = _entry(adapter)
    return str(entry.get("image") or entry.get("folder") or f"{HUB}{entry.get('hub', '')}")


def wanted_text(workspace: Workspace) -> str:
    """The list as the agent reads it."""
    return json.dumps({"adapters": [_entry(one) for one in specs(workspace)]}, separators=(",", ":"))


def wanted_digest(text: str) -> str:
    """Tells one list from another."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def wanted_map(workspace: Workspace) -> Object:
    """The ConfigMap that tells the agent which adapters are wanted."""
    return {
        "apiVersion": CONFIG_MAPS.api_version,
        "kind": CONFIG_MAPS.kind,
        "metadata": child_metadata(workspace, map_name(workspace)),
        "data": {contract.WANTED_FILE_NAME: wanted_text(workspace)},
    }


def engine_mount() -> dict[str, Any]:
    """The engine reads adapters and cannot change them."""
    return {"name": CACHE_VOLUME, "mountPath": contract.ADAPTERS_DIRECTORY, "readOnly": True}


def volumes(workspace: Workspace, room: AdapterRoom) -> list[dict[str, Any]]:
    """All volumes that adapters bring into a pod."""
    listed = {"name": WANTED_VOLUME, "configMap": {"name": map_name(workspace), "optional": True}}
    return [*room.volume_list, listed]


def _entry(adapter: AdapterSpec) -> dict[str, Any]:
    source = adapter.source
    if source is None:
        return {}
    entry: dict[str, Any] = {"name": source.name}
    if source.image:
        entry["image"] = source.image
        if source.image_pull_secrets:
            entry["pullSecrets"] = list(source.image_pull_secrets)
    elif source.urls:
        entry["hub"] = source.urls[0].removeprefix(HUB)
    else:
        entry["folder"] = f"{contract.ADAPTER_VOLUMES_DIRECTORY}/{source.name}"
    if adapter.strength is not None:
        entry["strength"] = adapter.strength
    return entry


def arguments(workspace: Workspace, preset: Preset, weights: Weights, room: AdapterRoom) -> list[str]:
    """What the agent is told of adapters."""
    words = [
        *(contract.ARG_ENGINE, f"http://127.0.0.1:{contract.PORT}"),
        *(contract.ARG_WANTED, contract.WANTED_FILE),
        *(contract.ARG_CACHE, contract.ADAPTERS_DIRECTORY),
        *(contract.ARG_SECRETS, contract.SECRETS_DIRECTORY),
        *(contract.ARG_MAX_LORA_RANK, str(room.max_rank)),
        *(contract.ARG_MODEL, weights.location),
    ]
    if weights.by_engine:
        words += [contract.ARG_DOWNLOAD_DIR, contract.WEIGHTS_DIRECTORY]
    for name in vllm.served_names(workspace, preset):
        words += [contract.ARG_SERVED_MODEL_NAME, name]
    return words


def mounts(room: AdapterRoom) -> list[dict[str, Any]]:
    """Where the agent finds and puts adapters."""
    made: list[dict[str, Any]] = [
        {"name": CACHE_VOLUME, "mountPath": contract.ADAPTERS_DIRECTORY},
        {"name": WANTED_VOLUME, "mountPath": contract.WANTED_DIRECTORY, "readOnly": True},
    ]
    for name in sorted(room.volumes):
        path = f"{contract.ADAPTER_VOLUMES_DIRECTORY}/{name}"
        made.append({"name": volume_name(name), "mountPath": path, "readOnly": True})
    return [*made, *secret_volumes(_SECRET_VOLUME, room.secrets)[1]]
