"""What pods should have room for of adapters, so that as few changes as possible restart them. Pure.

Turning LoRA on, a rank above the highest, a new Secret or volume need other pods. What is no longer wanted may stay:
the room of the pods that run is kept while nothing else makes new ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from attrs import evolve

from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.agent_report import entries_of
from kaito_controller.controllers.workspace.inference_config import InferenceConfig
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.workloads.adapters import RANKS, SLOTS, AdapterRoom, room_for_rank, source_of, specs

ROOM_ANNOTATION: Final = "workspace.kaito.io/adapter-room"
TEMPLATE_ANNOTATION: Final = "workspace.kaito.io/template-hash"


def wanted_room(workspace: Workspace, config: InferenceConfig, snapshot: Snapshot) -> AdapterRoom | None:
    """What the wanted adapters need; None when there are none."""
    wanted = [one.source for one in specs(workspace) if one.source is not None]
    if not wanted:
        return None
    return AdapterRoom(
        slots=_slots(config),
        max_rank=_highest(config) or learnt_rank(workspace, snapshot),
        secrets=tuple(sorted({name for one in wanted for name in one.image_pull_secrets if one.image})),
        volumes={one.name: one.volume_source for one in wanted if one.volume_source is not None},
    )


def kept_room(wanted: AdapterRoom | None, config: InferenceConfig, live: Object | None) -> AdapterRoom | None:
    """What the pods that run have room for, with what is wanted; None when that says nothing new."""
    had = _room_of(live)
    if had is None:
        return None
    if wanted is None:
        return evolve(had, slots=_slots(config), max_rank=_highest(config) or had.max_rank)
    kept = evolve(
        wanted,
        max_rank=_highest(config) or max(wanted.max_rank, had.max_rank),
        secrets=tuple(sorted({*wanted.secrets, *had.secrets})),
        volumes={**had.volumes, **wanted.volumes},
    )
    return None if kept == wanted else kept


def learnt_rank(workspace: Workspace, snapshot: Snapshot) -> int:
    """The lowest highest rank that has room for every adapter whose rank is known, of those that have room at all."""
    known = {(one.name, one.source): one.rank for one in workspace.status.adapters}
    for report in snapshot.reports.values():
        known |= {(one.name, one.source): one.rank for one in entries_of(report) if one.rank}
    wanted = {(one.source.name, source_of(one)) for one in specs(workspace) if one.source is not None}
    rooms = [room_for_rank(rank) for key, rank in known.items() if key in wanted]
    return max((room for room in rooms if room is not None), default=RANKS[0])


def with_room(flags: EngineFlags, room: AdapterRoom | None) -> EngineFlags:
    """The flags that the plan counts with."""
    if room is None:
        return flags
    return evolve(flags, enable_lora=True, max_loras=room.slots, max_lora_rank=room.max_rank)


def marked(stateful_set: Object, room: AdapterRoom) -> Object:
    """The StatefulSet with what its pods have room for, and what tells whether other pods would be made."""
    meta = {**metadata.metadata(stateful_set)}
    marks = {ROOM_ANNOTATION: _text(room), TEMPLATE_ANNOTATION: template_hash(stateful_set)}
    meta["annotations"] = {**metadata.annotations(stateful_set), **marks}
    return {**stateful_set, "metadata": meta}


def restarts_pods(desired: Object, live: Object | None) -> bool:
    """Whether pods of the one are other than those of the other; both are marked."""
    if live is None:
        return False
    return metadata.annotations(live).get(TEMPLATE_ANNOTATION) != metadata.annotations(desired).get(TEMPLATE_ANNOTATION)


def template_hash(stateful_set: Object) -> str:
    """Tells one pod template from another."""
    text = json.dumps(stateful_set["spec"]["template"], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def user_rank(config: InferenceConfig) -> int | None:
    """The highest rank that the user's configuration insists on."""
    return _highest(config)


def _slots(config: InferenceConfig) -> int:
    return config.flags.max_loras if "max_loras" in config.names else SLOTS


def _highest(config: InferenceConfig) -> int | None:
    return config.flags.max_lora_rank if "max_lora_rank" in config.names else None


def _text(room: AdapterRoom) -> str:
    made = {"slots": room.slots, "rank": room.max_rank, "secrets": list(room.secrets), "volumes": dict(room.volumes)}
    return json.dumps(made, sort_keys=True, separators=(",", ":"))


def _room_of(live: Object | None) -> AdapterRoom | None:
    """As `marked` wrote it; anything else says nothing."""
    text = metadata.annotations(live).get(ROOM_ANNOTATION) if live is not None else None
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, Mapping):
        return None
    slots, rank, secrets, volumes = (found.get(name) for name in ("slots", "rank", "secrets", "volumes"))
    if type(slots) is not int or type(rank) is not int or not _is_names(secrets) or not _is_volumes(volumes):
        return None
    return AdapterRoom(slots=slots, max_rank=rank, secrets=tuple(secrets), volumes=volumes)


def _is_names(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_volumes(value: Any) -> TypeGuard[Mapping[str, Mapping[str, Any]]]:
    return isinstance(value, Mapping) and all(isinstance(one, Mapping) for one in value.values())
