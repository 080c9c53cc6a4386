"""Our elector against client-go's own: same Lease, same interference, same requests, callbacks and lease states."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from kaito_controller.testing.oracle import allowed, clientgo
from kaito_controller.testing.oracle.elections import CONTESTS, Outcome, arena, contend
from kaito_controller.testing.oracle.outcome import differences


async def outcomes_of_client_go() -> Mapping[str, Outcome]:
    """Every contest at once, in one process."""
    async with arena(CONTESTS) as server:
        found = await clientgo.ask(["election", server.url], [each.for_peer() for each in CONTESTS])
        return {
            name: server.outcome(name, each["calls"], each["leaders"], each.get("problem", ""))
            for name, each in found.items()
        }


async def outcomes_of_ours(folder: Path) -> Mapping[str, Outcome]:
    """Every contest at once, in this loop."""
    async with arena(CONTESTS) as server:
        outcomes = await asyncio.gather(*(contend(each, server, folder) for each in CONTESTS))
    return {contest.name: outcome for contest, outcome in zip(CONTESTS, outcomes, strict=True)}


@pytest.mark.scenario("LE2", "LE3", "LE4", "LE5", "LE6", "LE7", "LE8", "LE9")
async def test_the_same_as_client_go_but_for_what_is_listed(tmp_path: Path) -> None:
    """Acquire, renew, conflict, take-over, loss, release: no unlisted difference, and no listed one that is gone."""
    theirs, mine = await asyncio.gather(outcomes_of_client_go(), outcomes_of_ours(tmp_path))
    found = [
        each
        for contest in CONTESTS
        for each in differences(contest.name, attrs.asdict(theirs[contest.name]), attrs.asdict(mine[contest.name]))
    ]
    unexplained, unneeded = allowed.judge(found, {each.name for each in CONTESTS})
    assert not unexplained, "\n\n".join(str(each) for each in unexplained)
    assert not unneeded, f"allowed in allowed.py, and no longer needed: {unneeded}"
