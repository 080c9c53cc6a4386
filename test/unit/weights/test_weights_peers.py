"""A model that spans nodes is one revision of it, whenever its pods come and whatever its hub does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from inference_server.weights.keeper import LOCK_WAIT_S, UNANSWERED_ATTEMPTS, Keeper
from inference_server.weights.peers import Peers, Told
from inference_server.weights.source import Source
from inference_server.weights.state import Phase
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.threaded import threaded

Make = Callable[..., Keeper]
BRANCH = "hf://org/model"
TAKEN = "a" * 40
URLS = ("http://m-0", "http://m-1", "http://m-2")


def peers(rank: int, told: Mapping[str, Mapping[str, Any] | Exception]) -> Peers:
    """The other pods, of which those that are not there refuse the connection."""

    def ask(url: str) -> Mapping[str, Any]:
        found = told.get(url, ConnectionRefusedError(url))
        if isinstance(found, Exception):
            raise found
        return found

    return Peers(urls=URLS, rank=rank, ask=ask)


def serves(revision: str, source: str = BRANCH) -> dict[str, str]:
    return {"state": "Ready", "source": source, "revision": revision}


@pytest.mark.parametrize("rank", [0, 2])
def test_a_pod_that_comes_back_takes_what_the_others_have(keeper: Make, rank: int):
    """The branch has moved on meanwhile: half a model of another commit would answer nonsense."""
    made = keeper(wanted=BRANCH, peers=peers(rank, {"http://m-1": serves(TAKEN)}))
    made.run()

    standing = made.state.standing()
    assert (standing.phase, standing.revision) == (Phase.READY, TAKEN)


def test_the_first_pod_chooses_when_no_other_has(keeper: Make, origin: Any):
    """Others wait for it and have nothing to tell."""
    made = keeper(wanted=BRANCH, peers=peers(0, {"http://m-1": {"state": "Fetching", "source": BRANCH}}))
    made.run()

    assert made.state.standing().revision == origin.commit


def test_the_others_wait_for_the_first(keeper: Make, clock: Any):
    """And say so; nobody is asked what the branch is meanwhile."""
    told: dict[str, Mapping[str, Any] | Exception] = {}
    made = keeper(wanted=BRANCH, peers=peers(1, told))
    said = []

    def later() -> None:
        said.append(made.state.standing().message)
        if len(said) == 3:
            told["http://m-0"] = serves(TAKEN)

    clock.on_sleep = later
    made.run()

    assert clock.sleeps == [LOCK_WAIT_S] * 3
    assert set(said) == {"the first pod of the model has not said yet which revision it takes"}
    assert made.state.standing().revision == TAKEN


def test_the_first_pod_waits_for_one_that_does_not_answer(keeper: Make, clock: Any):
    """It may hold a revision that the branch has left; on a dead node it never answers, so the wait ends."""
    told: dict[str, Mapping[str, Any] | Exception] = {"http://m-1": TimeoutError()}
    made = keeper(wanted=BRANCH, peers=peers(0, told))
    clock.on_sleep = lambda: told.update({"http://m-1": serves(TAKEN)}) if len(clock.sleeps) == 2 else None
    made.run()
    assert (clock.sleeps, made.state.standing().revision) == ([LOCK_WAIT_S] * 2, TAKEN)

    told["http://m-1"] = TimeoutError()
    clock.sleeps, clock.on_sleep = [], lambda: None
    alone = keeper(wanted=BRANCH, peers=peers(0, told))
    alone.run()
    assert clock.sleeps == [LOCK_WAIT_S] * UNANSWERED_ATTEMPTS
    assert alone.state.standing().phase is Phase.READY


def test_pods_recited_a_broken_revision_to_each_other_for_ever(keeper: Make, origin: Any, clock: Any):
    """Both had failed with it; the tag has been pushed anew meanwhile."""
    told: dict[str, Mapping[str, Any] | Exception] = {"http://m-1": serves(TAKEN)}
    made = keeper(wanted=BRANCH, peers=peers(0, told))
    good, origin.files = origin.files, {"config.json": b"{}"}

    def push_anew() -> None:
        origin.files = good
        told["http://m-1"] = {**serves(TAKEN), "state": "Failed"}

    clock.on_sleep = push_anew
    made.run()

    standing = made.state.standing()
    assert (standing.phase, standing.revision) == (Phase.READY, origin.commit)


@pytest.mark.parametrize(
    "told",
    [
        serves(TAKEN, "hf://org/another"),
        {**serves(TAKEN), "state": "Failed"},
        serves("main"),
        serves(""),
        {"revision": 7},
        {},
    ],
    ids=["of another model", "failed with", "a branch", "nothing yet", "no text", "empty"],
)
def test_what_is_no_revision_of_this_model_is_not_taken(told: Mapping[str, Any]):
    """Pods of the time before a change may still answer."""
    assert peers(1, {"http://m-0": told}).told(BRANCH, Source.parse(BRANCH)) == Told()


def test_an_agent_s_report_is_read_over_the_network():
    """As the agent answers it; another answer is as none."""
    answers = iter(
        [
            web.json_response({"adapters": [], "weights": serves(TAKEN)}),
            web.json_response([]),
            web.Response(text="no JSON"),
            web.Response(body=b"[" * 10**6),
        ]
    )

    async def answer(_: web.Request) -> web.StreamResponse:
        return next(answers)

    with threaded(listening(answer)) as url:
        found = [Peers(urls=("", url)).told(BRANCH, Source.parse(BRANCH)).revision for _ in range(4)]
    assert found == [TAKEN, None, None, None]
