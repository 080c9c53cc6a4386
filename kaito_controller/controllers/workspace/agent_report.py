"""What an agent reports of adapters, read as untrusted data: anything that runs in the pod may answer for it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inference_server import contract
from kaito_controller.api.workspace import AdapterStatus
from kaito_controller.api.workspace_rules import MAX_ADAPTERS

MESSAGE_LIMIT: Final = 512
NAME_LIMIT: Final = 253
HIGHEST_RANK: Final = 65536
STATES: Final = frozenset(
    {contract.STATE_PENDING, contract.STATE_LOADING, contract.STATE_LOADED, contract.STATE_FAILED}
)
_REASON: Final = re.compile(r"[A-Za-z]{1,64}")
_DIGEST: Final = re.compile(r"[A-Za-z0-9:+._-]{1,128}")


def entries_of(report: Mapping[str, Any]) -> Sequence[AdapterStatus]:
    """The adapters of a report that have the form of one; others are as good as absent."""
    entries = report.get("adapters")
    if not isinstance(entries, list):
        return ()
    found = (_entry(one) for one in entries[: 2 * MAX_ADAPTERS])
    return tuple(one for one in found if one is not None)


def _entry(raw: Any) -> AdapterStatus | None:
    if not isinstance(raw, Mapping):
        return None
    name, state = raw.get("name"), raw.get("state")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT or not isinstance(state, str):
        return None
    if state not in STATES:
        return None
    rank = raw.get("rank")
    return AdapterStatus(
        name=name,
        state=state,
        reason=_matching(raw.get("reason"), _REASON),
        message=_line(raw.get("message"), MESSAGE_LIMIT),
        source=_line(raw.get("source"), contract.REPORT_SOURCE_LENGTH),
        digest=_matching(raw.get("digest"), _DIGEST),
        rank=rank if type(rank) is int and 0 < rank <= HIGHEST_RANK else 0,
    )


def _matching(value: Any, form: re.Pattern[str]) -> str:
    return value if isinstance(value, str) and form.fullmatch(value) else ""


def _line(value: Any, limit: int) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in value[:limit])
