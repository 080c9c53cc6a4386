"""The suite notices when a server behaves otherwise: each fact is broken in the fake, and the test of it must fail."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.fake import (
    deleting,
    merging,
    ownership,
    preparing,
    reading,
    rendering,
    routes,
    selectors,
    status,
    storage,
    watch,
    watching,
)
from kaito_controller.testing.fake.stage import MemoryStage, World
from kaito_controller.testing.fake.transcript import Recorder, script

FAILED = (AssertionError, pytest.fail.Exception, ApiError, StopAsyncIteration, TimeoutError)
Break = Callable[[pytest.MonkeyPatch], None]


def scene(file: str, words: str) -> Callable[[World], Any]:
    """A test of the suite with its arguments, if any, to be played on a stage of our own."""
    name, *arguments = words.split()
    path = Path(__file__).parent / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"scenes_{file}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, name).__wrapped__
    return lambda world: found(world, *(argument.replace("_", " ") for argument in arguments))


def replaced(owner: object, name: str, new: object) -> Break:
    """Break by another value."""
    return lambda patch: patch.setattr(owner, name, new)


def wrapped(owner: Any, name: str, change: Callable[..., Any]) -> Break:
    """Break by a function that is handed the right one first."""
    right = getattr(owner, name)
    return lambda patch: patch.setattr(owner, name, lambda *args, **kwargs: change(right, *args, **kwargs))


def without_gone(right: Callable[..., Any], *args: Any) -> Any:
    """A watch that shows what leaves the selection as a change."""
    event = right(*args)
    return ("MODIFIED", event[1]) if event and event[0] == "DELETED" else event


def forced(right: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """An apply that nobody can stop."""
    return right(*args, **kwargs | {"force": True})


def with_wrong_generation(right: Callable[..., Any], *args: Any) -> Any:
    """A deletion that is not counted."""
    marked = right(*args)
    return marked | {"metadata": marked["metadata"] | {"generation": 1}}


def patient(right: Callable[..., Any], *args: Any) -> Any:
    """Every kind may be updated blindly."""
    found = right(*args)
    return evolve(found, kind=evolve(found.kind, unconditional=True))


def no_meta(_right: Callable[..., Any], _kind: Any, _form: str, obj: Object, _now: Any) -> Object:
    """Whole objects, whatever was asked for."""
    return obj


DIFFERENCES: dict[str, tuple[Break, str, str]] = {
    "the last bookmark is late": (
        replaced(watch, "PRE_TIMEOUT_S", 0.5),
        "test_watch",
        "test_a_bookmark_before_the_end",
    ),
    "the future is waited for too long": (
        replaced(storage, "FUTURE_S", 5.0),
        "test_reads",
        "test_a_version_of_the_future",
    ),
    "what leaves a selection is a change": (
        wrapped(watch.Watch, "_event", without_gone),
        "test_watch",
        "test_leaving_a_selection_is_a_deletion",
    ),
    "old watches begin now": (
        wrapped(watching, "_version", lambda _right, _request: 0),
        "test_watch",
        "test_too_old",
    ),
    "the end has another name": (
        replaced(watch, "INITIAL_EVENTS_END", "k8s.io/initial-events-over"),
        "test_watchlist",
        "test_nothing_there",
    ),
    "versions do not matter": (
        replaced(preparing, "check_version", lambda *_: None),
        "test_writes",
        "test_an_update_of_another_version",
    ),
    "every write is a change": (
        replaced(preparing, "same", lambda *_: False),
        "test_watch",
        "test_writes_that_change_nothing",
    ),
    "blind updates": (wrapped(routes, "_target", patient), "test_writes", "test_updates_without_a_version"),
    "everything counts a generation": (
        replaced(preparing, "_counts", lambda *_: True),
        "test_writes",
        "test_status_has_a_path_of_its_own",
    ),
    "deletions count none": (
        wrapped(preparing, "marked", with_wrong_generation),
        "test_writes",
        "test_deletion_waits_for_finalizers",
    ),
    "nothing is left for the garbage collector": (
        replaced(deleting, "_POLICIES", {}),
        "test_writes",
        "test_propagation",
    ),
    "pages show what is there now": (
        replaced(storage.Collection, "at", lambda self, _version: dict(self.objects)),
        "test_reads",
        "test_pages",
    ),
    "limits hold at version 0": (
        replaced(reading.Reading, "_asked_for", lambda _self, request: (0, "", int(request.query.get("limit", 0)))),
        "test_reads",
        "test_version_0_ignores_the_limit",
    ),
    "an absent label is in no set's outside": (
        wrapped(selectors, "_label_requirement", lambda right, part: right(part.replace("notin", "in"))),
        "test_reads",
        "test_label_selectors l_notin_(x) bc",
    ),
    "applies never conflict": (
        wrapped(ownership, "applied", forced),
        "test_apply",
        "test_a_conflict_names_every_field",
    ),
    "nothing is given up": (
        replaced(merging, "without", lambda _shape, value, _fields: value),
        "test_apply",
        "test_what_is_no_longer_applied_is_removed",
    ),
    "lists are sorted": (
        replaced(merging, "_order", lambda before, after: sorted({*before, *after}, reverse=True)),
        "test_apply",
        "test_lists_by_their_kind",
    ),
    "metadata comes with the rest": (wrapped(rendering, "rendered", no_meta), "test_forms", "test_metadata_alone"),
    "names are taken silently": (
        replaced(status, "already_exists", lambda *_: status.bad_request("no")),
        "test_coordination",
        "test_a_lease_is_taken_once",
    ),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_difference_is_noticed(difference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With that one fact broken, the test that holds it fails; without, it passes."""
    broken, file, name = DIFFERENCES[difference]
    claim = scene(file, name)
    MemoryStage().play(claim)
    broken(monkeypatch)
    with pytest.raises(FAILED):
        MemoryStage().play(claim)


def transcript(seed: int) -> list[Object]:
    """The record of a seed's script."""
    answers: list[Object] = []

    async def play(world: World) -> None:
        recorder = Recorder(world)
        for number, step in enumerate(script(seed, 40)):
            answers.append(await recorder.play(number, step))

    MemoryStage().play(play)
    return answers


@pytest.mark.parametrize(
    "broken",
    [
        wrapped(ownership, "applied", forced),
        replaced(preparing, "same", lambda *_: False),
        replaced(merging, "_order", lambda before, after: sorted({*before, *after}, reverse=True)),
        replaced(ownership, "_pruned", lambda _shape, obj, _fields, _last: obj),
        replaced(preparing, "_counts", lambda *_: True),
    ],
)
def test_a_transcript_notices_a_difference(broken: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some seed's record is another one when ownership, versions, orders or generations are wrong."""
    right = [transcript(seed) for seed in range(6)]
    broken(monkeypatch)
    assert [transcript(seed) for seed in range(6)] != right
