"""Where each adapter stands, from what the agent in the pod reports, and whether all of them are served. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from attrs import evolve

from inference_server import contract
from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import AdapterSpec, AdapterStatus
from kaito_controller.controllers.workspace import adapter_room, readiness
from kaito_controller.controllers.workspace.agent_report import entries_of
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Notice, Verdict
from kaito_controller.kube.metadata import Object
from kaito_controller.workloads.adapters import RANKS, room_for_rank, source_of, specs

# Reasons of ours, beside those of the agent.
RESTART: Final = "EngineRestart"
NO_ROOM: Final = "NoRoom"
NO_REPORT: Final = "NoReport"
CONDITION_LIMIT: Final = 1024


def adapters(plan: ServingPlan, snapshot: Snapshot) -> tuple[AdapterStatus, ...]:
    """One status for each adapter that is wanted, in the order of the spec."""
    reported = {one.name: one for one in entries_of(snapshot.reports.get(leader(plan)) or {})}
    before = {one.name: one for one in plan.workspace.status.adapters}
    return tuple(
        _status(plan, snapshot, one, reported.get(one.source.name), before.get(one.source.name))
        for one in specs(plan.workspace)
        if one.source is not None
    )


def verdict(found: Sequence[AdapterStatus]) -> Verdict | None:
    """Whether the engine serves them all; None when none is wanted."""
    if not found:
        return None
    failed = [one for one in found if one.state == contract.STATE_FAILED]
    if failed:
        told = "; ".join(f"{one.name}: {one.reason}: {one.message}" for one in failed)
        return Verdict(holds=False, reason=Reason.ADAPTERS_FAILED, message=told[:CONDITION_LIMIT])
    missing = [one for one in found if one.state != contract.STATE_LOADED]
    if not missing:
        return Verdict(holds=True, reason=Reason.ADAPTERS_LOADED, message="Every adapter is loaded")
    first = missing[0]
    why = f": {first.message}" if first.message else ""
    told = f"{len(found) - len(missing)} of {len(found)} adapters are loaded; {first.name} is {first.state}{why}"
    return Verdict(holds=False, reason=Reason.ADAPTERS_PENDING, message=told[:CONDITION_LIMIT])


def news(before: Object, after: Object) -> tuple[Notice, ...]:
    """The events of a status whose adapters went from one to the other: each that was loaded, replaced or failed."""
    was = {one.get("name"): one for one in before.get("adapters") or () if isinstance(one, Mapping)}
    told = []
    for now in after.get("adapters") or ():
        earlier = was.get(now["name"]) or {}
        state, digest = now["state"], now.get("digest", "")
        if state == contract.STATE_LOADED and (earlier.get("state"), earlier.get("digest", "")) != (state, digest):
            note = f"Adapter {now['name']} is loaded from {now.get('source', '')} {digest}".rstrip()
            told.append(Notice(reason=Reason.ADAPTER_LOADED, note=note, action="Load"))
        if state == contract.STATE_FAILED and (earlier.get("state"), earlier.get("reason")) != (
            state,
            now.get("reason"),
        ):
            note = f"Adapter {now['name']}: {now.get('reason', '')}: {now.get('message', '')}"
            told.append(Notice(reason=Reason.ADAPTER_FAILED, note=note, warning=True, action="Load"))
    return tuple(told)


def leader(plan: ServingPlan) -> str:
    """The pod whose engine serves the API; the others hold further parts of the same model."""
    return f"{plan.workspace.metadata.name}-0"


def is_settled(found: Sequence[AdapterStatus]) -> bool:
    """Whether nothing is expected to move by itself soon."""
    return all(one.state == contract.STATE_LOADED for one in found)


def _status(
    plan: ServingPlan,
    snapshot: Snapshot,
    adapter: AdapterSpec,
    reported: AdapterStatus | None,
    before: AdapterStatus | None,
) -> AdapterStatus:
    name = adapter.source.name if adapter.source is not None else ""
    source = source_of(adapter)[: contract.REPORT_SOURCE_LENGTH]
    same = before is not None and before.source == source
    base = AdapterStatus(name=name, state=contract.STATE_PENDING, source=source)
    last = reported if reported is not None and reported.source == source else before if same else None
    # The rank outlives the pod that told of it: the next one is made with room for it.
    known = evolve(base, rank=last.rank, digest=last.digest) if last is not None else base
    if plan.room is None:
        return evolve(known, state=contract.STATE_FAILED, reason=NO_ROOM, message=plan.room_note[:CONDITION_LIMIT])
    if snapshot.stateful_set is None or not readiness.has_rolled_out(plan, snapshot.stateful_set):
        return evolve(known, reason=RESTART, message=_restart(plan, snapshot.stateful_set))
    if reported is None or (reported.source and reported.source != source):
        if leader(plan) not in snapshot.reports and same and before is not None and _stands(plan, snapshot, before):
            return before
        message = f"the agent in pod {leader(plan)} has not told of it yet"
        return evolve(known, reason=NO_REPORT, message=message)
    told = evolve(reported, source=source)
    return _of_rank(plan, told) if told.reason == contract.REASON_RANK_TOO_HIGH else told


def _stands(plan: ServingPlan, snapshot: Snapshot, before: AdapterStatus) -> bool:
    """Whether what was said last counts until the agent is heard: an operator that has just started flickers not.

    An engine that does not serve has loaded nothing, whatever its pod before it had.
    """
    if before.state == contract.STATE_LOADED:
        return readiness.inference(plan, snapshot).holds
    return before.reason != RESTART


def _of_rank(plan: ServingPlan, told: AdapterStatus) -> AdapterStatus:
    """A rank above the highest is a matter of other pods, unless something keeps them from being made."""
    asked = adapter_room.user_rank(plan.config)
    if room_for_rank(told.rank) is None:
        remedy = f"the engine serves ranks up to {RANKS[-1]}; train it with a lower one"
    elif asked is not None:
        where = f"max-lora-rank in the ConfigMap {plan.workspace.config}"
        remedy = f"{where} is {asked}; raise it to {room_for_rank(told.rank)}, or leave it out"
    elif plan.room_note:
        remedy = plan.room_note
    else:
        message = f"its rank is {told.rank}; the engine restarts with room for it"
        return evolve(told, state=contract.STATE_PENDING, reason=RESTART, message=message)
    return evolve(told, message=f"its rank is {told.rank}: {remedy}"[:CONDITION_LIMIT])


def _restart(plan: ServingPlan, live: Object | None) -> str:
    """Why it waits for pods that are not there yet."""
    if live is None:
        return "the engine is not started yet"
    highest = plan.room.max_rank if plan.room is not None else 0
    return f"the engine restarts with adapters switched on, for ranks up to {highest}"
