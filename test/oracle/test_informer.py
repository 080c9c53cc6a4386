"""Our informer against client-go's SharedInformer: same scripts over HTTP, same requests, store and notifications."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from kaito_controller.machinery.reflector import live_events
from kaito_controller.testing.oracle import allowed, clientgo, ours
from kaito_controller.testing.oracle.clientgo import PeerFailedError
from kaito_controller.testing.oracle.outcome import Difference, differences
from kaito_controller.testing.oracle.scenarios import LISTS, STREAMS
from kaito_controller.testing.oracle.script import Scenario
from kaito_controller.testing.oracle.server import playing


async def compare(scenarios: Sequence[Scenario], folder: Path, *, watch_list: bool) -> list[Difference]:
    """Play everything on both sides, each on a server of its own, and return where they differ."""
    async with playing(scenarios) as one, playing(scenarios) as other:
        theirs, mine = await asyncio.gather(
            clientgo.play_all(scenarios, one, watch_list=watch_list), ours.play_all(scenarios, other, folder)
        )
    return [
        each
        for play in scenarios
        for each in differences(play.name, theirs[play.name].parts(), mine[play.name].parts())
    ]


@pytest.mark.scenario("RF1", "RF2", "RF3", "RF4", "RF5", "RF6", "RF7", "RF8", "RF9", "RF10", "RF11", "RF12", "RF13")
@pytest.mark.scenario("RF14", "RF15", "RF16", "RF17", "RF24", "WL1", "WL2", "WL3", "WL4", "WL5", "WL7", "FQ2", "FQ6")
@pytest.mark.scenario("SI2", "SI4", "SI5", "SI8", "SI9", "SI10", "SI13", "ST2", "ST4")
async def test_the_same_as_client_go_but_for_what_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists, watches and WatchList streams, whole and broken: no unlisted difference, no listed one that is gone."""
    # Ninety seconds of silence are too long for a test; everything else goes at its own pace.
    monkeypatch.setattr(live_events, "SILENCE_S", 1.5)
    by_lists, by_streams = await asyncio.gather(
        compare(LISTS, tmp_path, watch_list=False), compare(STREAMS, tmp_path, watch_list=True)
    )
    found = by_lists + by_streams
    unexplained, unneeded = allowed.judge(found, {each.name for each in (*LISTS, *STREAMS)})
    assert not unexplained, "\n\n".join(str(each) for each in unexplained)
    assert not unneeded, f"allowed in allowed.py, and no longer needed: {unneeded}"


@pytest.mark.scenario("SI7")
async def test_a_failing_handler_ends_client_go_and_not_us(tmp_path: Path) -> None:
    """SI7: a handler that raises ends a client-go program unless told otherwise; ours goes on with the next event."""
    plays = [each for each in LISTS if each.name == "handler-fails"]
    async with playing(plays) as server:
        with pytest.raises(PeerFailedError, match="this handler fails on this object"):
            await clientgo.play_all(plays, server, watch_list=False, crash=True)
    async with playing(plays) as server:
        mine = await ours.play_all(plays, server, tmp_path)
    assert mine["handler-fails"].problem == ""
    assert mine["handler-fails"].log["first"] == mine["handler-fails"].log["other"]


def test_every_scenario_has_a_name_of_its_own() -> None:
    """Outcomes are found by the scenario's name."""
    names = [each.name for each in (*LISTS, *STREAMS)]
    assert len(names) == len(set(names))
