"""How a model's files get to a pod, whatever the hub, the disk and the other pods of the node do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference_server import contract
from inference_server.files.errors import Kind
from inference_server.weights import keeper as keeper_module
from inference_server.weights.keeper import Keeper
from inference_server.weights.state import Phase
from inference_server.weights.store import Store

Make = Callable[..., Keeper]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "model.safetensors": b"weights!"}
PINNED = f"hf://org/model@{COMMIT}"
OLD = "f" * 40


def folder_of(tmp_path: Path, uri: str = PINNED) -> Path:
    return tmp_path / "weights" / contract.weights_folder_name(uri)


def test_files_come_and_the_report_names_their_folder(keeper: Make, tmp_path: Path):
    """Ready, with the folder that holds them and all bytes done."""
    made = keeper()
    made.run()

    report = made.state.standing().report()
    assert {path.name for path in folder_of(tmp_path).iterdir()} == set(FILES)
    assert report["state"] == contract.WEIGHTS_READY
    assert report["folder"] == str(folder_of(tmp_path))
    assert (report["source"], report["revision"]) == (PINNED, COMMIT)


def test_a_finished_folder_is_taken_without_asking_anybody(keeper: Make, failure: Any, scripted: Any):
    """A pod that restarts, or the next one on the node, fetches nothing."""
    keeper().run()
    nobody = scripted(failures=[failure(Kind.UNREACHABLE)] * 9)
    again = keeper(of=nobody)
    again.run()

    assert nobody.asked == []
    assert again.state.standing().phase is Phase.READY


def test_a_folder_cut_short_by_a_power_cut_is_fetched_again(keeper: Make, origin: Any, tmp_path: Path):
    """A rename may outlive what was in the files; sizes are compared with those that were sealed."""
    keeper().run()
    (folder_of(tmp_path) / "model.safetensors").write_bytes(b"")
    keeper().run()

    assert len(origin.asked) == 2
    assert (folder_of(tmp_path) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_branch_is_pinned_to_its_commit(keeper: Make, tmp_path: Path):
    """What is fetched, reported and kept is the commit, so that a branch that moves changes no folder."""
    made = keeper("hf://org/model")
    made.run()

    assert made.state.standing().folder == str(folder_of(tmp_path))
    assert made.state.standing().revision == COMMIT


def test_a_moved_branch_is_fetched_anew(keeper: Make, origin: Any, tmp_path: Path):
    """The old folder stays for who reads it."""
    origin.commit = OLD
    keeper("hf://org/model").run()
    origin.commit = COMMIT
    keeper("hf://org/model").run()

    assert folder_of(tmp_path).is_dir()
    assert folder_of(tmp_path, f"hf://org/model@{OLD}").is_dir()


def test_a_hub_that_is_away_does_not_keep_what_is_here_from_being_served(
    keeper: Make, tmp_path: Path, failure: Any, scripted: Any
):
    """A branch cannot be resolved then; the last that was had is used, and the report says so."""
    keeper("hf://org/model").run()
    made = keeper("hf://org/model", of=scripted(commit=failure(Kind.UNREACHABLE)))
    made.run()

    standing = made.state.standing()
    assert (standing.phase, standing.folder) == (Phase.READY, str(folder_of(tmp_path)))
    assert "from an earlier time" in standing.message


def test_what_passes_is_waited_for_longer_each_time(keeper: Make, origin: Any, clock: Any, failure: Any):
    """2, 4, 8 seconds; meanwhile the state is Fetching, with the reason and the time of the next try."""
    origin.failures = [failure(Kind.UNREACHABLE), failure(Kind.BUSY), failure(Kind.UNREACHABLE)]
    made, seen = keeper(), []
    clock.on_sleep = lambda: seen.append(made.state.standing())
    made.run()

    assert clock.sleeps == [2.0, 4.0, 8.0]
    assert {standing.phase for standing in seen} == {Phase.FETCHING}
    assert seen[1].message == "hub: it says no; do this; it is tried again in 4 s"
    assert made.state.standing().phase is Phase.READY


def test_the_wait_that_a_hub_asks_for_is_kept(keeper: Make, origin: Any, clock: Any, failure: Any):
    """Retry-After, as far as it is bearable."""
    origin.failures = [failure(Kind.BUSY, retry_after_s=30.0)]
    keeper().run()

    assert clock.sleeps == [30.0]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Kind.DENIED, contract.EXIT_MODEL),
        (Kind.NOT_FOUND, contract.EXIT_MODEL),
        (Kind.UNSAFE, contract.EXIT_MODEL),
        (Kind.DISK_FULL, contract.EXIT_UNAVAILABLE),
    ],
)
def test_what_a_person_must_put_right_fails_and_is_looked_at_again(  # noqa: PLR0917 (fixtures)
    keeper: Make, origin: Any, clock: Any, kind: Kind, code: int, failure: Any
):
    """Failed, with the message and the engine's exit code; a minute later it is tried again, and may succeed."""
    origin.failures = [failure(kind)]
    made, seen = keeper(), []
    clock.on_sleep = lambda: seen.append(made.state.standing().report())
    made.run()

    assert clock.sleeps == [keeper_module.FAILED_WAIT_S]
    assert (seen[0]["state"], seen[0]["message"], seen[0]["exitCode"]) == ("Failed", "hub: it says no; do this", code)
    assert made.state.standing().report().get("exitCode") is None


def test_bytes_that_never_match_their_checksum_fail(keeper: Make, origin: Any, clock: Any, failure: Any):
    """Twice is a bad line, three times a bad source."""
    origin.failures = [failure(Kind.CORRUPT)] * 3
    made, seen = keeper(), []
    clock.on_sleep = lambda: seen.append(made.state.standing().phase)
    made.run()

    assert seen == [Phase.FETCHING, Phase.FETCHING, Phase.FAILED]


def test_weights_that_are_no_safetensors_are_told_by_name(keeper: Make, origin: Any, clock: Any):
    """Pickles run programs when they are read; the message names what is there, which is not fetched over and over."""
    origin.files = {"config.json": b"{}", "pytorch_model.bin": b"x"}
    made, seen = keeper("hf://org/model"), []

    def look() -> None:
        seen.append(made.state.standing())
        if len(seen) == 3:
            origin.files, origin.commit = FILES, OLD

    clock.on_sleep = look
    made.run()

    assert "only config.json, pytorch_model.bin" in seen[0].message
    assert seen[0].exit_code == contract.EXIT_MODEL
    assert origin.asked == [PINNED, f"hf://org/model@{OLD}"]


def test_a_model_in_a_folder_of_the_image_is_found(keeper: Make, origin: Any, tmp_path: Path):
    """Packers put it under its name."""
    origin.files = {f"org/model/{name}": content for name, content in FILES.items()} | {"README.md": b"read"}
    made = keeper()
    made.run()

    assert made.state.standing().folder == str(folder_of(tmp_path) / "org" / "model")


def test_two_models_in_one_image_are_told_apart_by_nobody(keeper: Make, origin: Any, clock: Any):
    """Which one is meant cannot be known, so the image must be packed anew."""
    origin.files = {f"{part}/{name}": content for name, content in FILES.items() for part in ("a", "b")}
    made, told = keeper("hf://org/model"), []

    def pack_anew() -> None:
        told.append(made.state.standing().message)
        origin.files, origin.commit = FILES, OLD

    clock.on_sleep = pack_anew
    made.run()

    assert "it holds 2 models, in a, b" in told[0]


def test_the_second_pod_of_a_node_waits_and_shows_the_progress_of_the_first(
    keeper: Make, origin: Any, clock: Any, tmp_path: Path
):
    """One download for the node; both serve from the same folder."""
    store = Store(tmp_path / "weights")
    store.prepare()
    name = contract.weights_folder_name(PINNED)
    second, seen = keeper(), []
    first = store.alone(name)
    told = first.__enter__()
    assert told is not None
    store.tell_progress(told, 5, 8)

    def look() -> None:
        seen.append(second.state.standing())
        if len(seen) == 3:
            first.__exit__(None, None, None)
            clock.on_sleep = lambda: None

    clock.on_sleep = look
    second.run()

    assert [(one.bytes_done, one.bytes_total) for one in seen] == [(5, 8)] * 3
    assert seen[0].message == "another pod on this node is fetching the same files"
    assert origin.asked == [PINNED]


def test_a_disk_that_is_too_small_says_how_much_is_missing(
    keeper: Make, origin: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
):
    """Before the first byte: bytes that are to come, and bytes that are free."""
    origin.total = 30 * 10**9
    monkeypatch.setattr(Store, "free_bytes", lambda _: 20 * 10**9)
    made, seen = keeper(), []

    def enlarge() -> None:
        seen.append(made.state.standing())
        monkeypatch.setattr(Store, "free_bytes", lambda _: 40 * 10**9)

    clock.on_sleep = enlarge
    made.run()

    assert "30.0 GB of 30.0 GB are to come and 20.0 GB are free" in seen[0].message
    assert seen[0].phase is Phase.FAILED


def test_models_that_nobody_uses_make_room(keeper: Make, origin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The longest unused first; what an engine reads stays, however full the disk is."""
    used = keeper("hf://org/used")
    used.run()
    unused = f"hf://org/unused@{OLD}"
    leaving = keeper(unused)
    leaving.run()
    leaving.store.close()
    origin.total = 10
    monkeypatch.setattr(
        Store, "free_bytes", lambda _: 0 if folder_of(tmp_path, unused).exists() else 10 * keeper_module.SPARE_BYTES
    )
    keeper(f"hf://org/new@{COMMIT}").run()

    assert not folder_of(tmp_path, unused).exists()
    assert folder_of(tmp_path, f"hf://org/used@{COMMIT}").is_dir()
    assert folder_of(tmp_path, f"hf://org/new@{COMMIT}").is_dir()


def test_what_a_broken_attempt_left_on_the_node_filled_its_disk_for_good(tmp_path: Path):
    """Its Workspace may be gone: it makes room as a model does, but not while somebody is at it."""
    store = Store(tmp_path)
    store.prepare()
    broken, going_on = store.root / ".broken.fetching", store.root / ".going-on.fetching"
    for name, place in (("broken", broken), ("going-on", going_on)):
        with store.alone(name):
            (place / "content").mkdir(parents=True)
            (place / "content" / "model.safetensors.part").write_bytes(b"0123456789")
    strangers = store.root / ".theirs.fetching"
    strangers.mkdir()
    other = Store(tmp_path)
    other.use("going-on")

    assert store.sweep(100, keep="wanted") == 10
    assert (broken.exists(), going_on.exists(), strangers.exists()) == (False, True, True)
    other.close()
    assert store.sweep(100, keep="going-on") == 0
    assert store.sweep(100, keep="wanted") == 10


def test_a_folder_that_may_not_be_written_is_told(keeper: Make, clock: Any, tmp_path: Path):
    """A file where the folder should be stands for a volume of another user."""
    (tmp_path / "weights").write_text("")
    made, seen = keeper(), []

    def clear() -> None:
        seen.append(made.state.standing())
        (tmp_path / "weights").unlink()

    clock.on_sleep = clear
    made.run()

    assert "cannot be written by user" in seen[0].message
    assert made.state.standing().phase is Phase.READY


def test_what_others_wrote_beside_is_not_believed(keeper: Make, origin: Any, tmp_path: Path):
    """Broken records of a shared folder are as good as none."""
    keeper().run()
    record = tmp_path / "weights" / ".sealed" / contract.weights_folder_name(PINNED)
    for text in (
        "[]",
        "{",
        json.dumps({"source": 5, "files": {}}),
        json.dumps({"source": PINNED, "files": {"a": "b"}}),
    ):
        record.write_text(text)
        keeper().run()

    assert len(origin.asked) == 5


def test_an_error_that_nobody_thought_of_ended_the_fetching_without_a_word(keeper: Make, clock: Any, scripted: Any):
    """The thread was gone, the agent healthy, and the engine waited a quarter of an hour."""
    made = keeper(of=scripted(failures=[RuntimeError("of a library")]))
    told = []
    clock.on_sleep = lambda: told.append(made.state.standing())
    made.run()

    assert told[0].phase is Phase.FAILED
    assert "RuntimeError: of a library" in told[0].message
    assert made.state.standing().phase is Phase.READY
