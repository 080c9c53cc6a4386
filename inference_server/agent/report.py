"""What the agent tells of its adapters, as JSON of a bounded size: the operator shows it in the Workspace's status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from inference_server import contract
from inference_server.agent.decisions import Known, Situation, state
from inference_server.agent.refusal import AdapterRefusedError, Reason, line
from inference_server.refusal import InputError

# Many adapters that all have much to say must still fit: their messages get shorter, then they go.
MESSAGE_LIMITS: Final = (300, 120, 40, 0)


def compose(situation: Situation, refused: Mapping[str, InputError], problem: str) -> dict[str, Any]:
    """The report; `problem` is what is wrong with the list as a whole."""
    entries = [_entry(situation, one) for one in situation.known.values()]
    entries += [
        {"name": name, "state": contract.STATE_FAILED, "reason": Reason.SPEC_INVALID.value, "message": line(str(error))}
        for name, error in refused.items()
    ]
    report: dict[str, Any] = {"adapters": entries}
    if problem:
        report["message"] = line(problem)
    return report


def encode(report: Mapping[str, Any]) -> bytes:
    """At most REPORT_MAX_BYTES. What does not fit even without messages is cut off the end of the list."""
    adapters = list(report["adapters"])
    for limit in MESSAGE_LIMITS:
        shorter = [_cut(entry, limit) for entry in adapters]
        raw = _json({**report, "adapters": shorter})
        if len(raw) <= contract.REPORT_MAX_BYTES:
            return raw
    while shorter and len(raw) > contract.REPORT_MAX_BYTES:
        shorter = shorter[: len(shorter) * 3 // 4]
        raw = _json({**report, "adapters": shorter, "omitted": len(adapters) - len(shorter)})
    return raw


def _entry(situation: Situation, one: Known) -> dict[str, Any]:
    name, (told, refusal) = one.wanted.name, state(situation, one)
    entry: dict[str, Any] = {
        "name": name,
        "state": told,
        "source": line(one.wanted.source, contract.REPORT_SOURCE_LENGTH),
    }
    if refusal is not None:
        entry |= {"reason": refusal.reason.value, "message": _message(situation, name, told, refusal)}
    rank = one.ready.rank if one.ready else refusal.rank if refusal else None
    digest = one.ready.digest if one.ready else refusal.digest if refusal else None
    if rank is not None:
        entry["rank"] = rank
    if digest is not None:
        entry["digest"] = digest
    return entry


def _message(situation: Situation, name: str, told: str, refusal: AdapterRefusedError) -> str:
    listed = situation.listing.adapters.get(name) if situation.listing else None
    serves_other = told == contract.STATE_FAILED and listed is not None and situation.is_ours(listed)
    return f"{refusal}; the engine goes on with the one before" if serves_other else str(refusal)


def _cut(entry: Mapping[str, Any], limit: int) -> dict[str, Any]:
    shorter = dict(entry)
    if "message" in shorter:
        shorter["message"] = line(shorter["message"], limit) if limit else ""
    return shorter


def _json(report: Mapping[str, Any]) -> bytes:
    return json.dumps(report, separators=(",", ":")).encode()
