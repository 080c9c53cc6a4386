"""Models come from a hub whole, pinned to a commit and checked, or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from inference_server.files import hub, hub_failures
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.hub import FakeHub
from kaito_controller.testing.sources.parts import part_of
from kaito_controller.testing.threaded import threaded

WEIGHTS = os.urandom(50_000)
FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "original/tokenizer.json": b"[]",
    "pytorch_model.bin": b"a pickle",
    "modeling_x.py": b"raise SystemExit",
    ".gitattributes": b"",
}
SAFE = ("config.json", "model.safetensors", "original/tokenizer.json")


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache and no token of whoever runs the tests."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch):
    fake = FakeHub(models={"org/model": dict(FILES)})
    with threaded(listening(fake.answer)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield fake


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failure(reference: str, folder: Path, **options) -> FetchError:
    with pytest.raises(FetchError) as caught:
        hub.fetch(reference, folder, **options)
    assert not folder.exists()
    return caught.value


@pytest.mark.parametrize("revision", ["", "@main", "commit"])
def test_safe_files_of_one_commit_are_brought_and_nothing_else(served, tmp_path, revision):
    commit = served.commit("org/model")
    told: list[tuple[int, int | None]] = []
    reference = f"org/model@{commit}" if revision == "commit" else f"org/model{revision}"
    fetched = hub.fetch(reference, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert (fetched.revision, fetched.files) == (commit, SAFE)
    assert tree(tmp_path / "out") == {name: FILES[name] for name in SAFE}
    resolved = [path for path, _, _ in served.asked if "/resolve/" in path]
    assert all(commit in path for path in resolved)
    assert not [path for path in resolved if path.endswith((".bin", ".py"))]
    total = sum(len(FILES[name]) for name in SAFE)
    assert told[-1] == (total, total)
    assert {of for _, of in told} == {total}


def test_a_token_opens_a_gated_model_and_does_not_follow_to_the_store(served, tmp_path):
    seen: list[str] = []

    async def store(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization", ""))
        return part_of(request, WEIGHTS)

    served.gated.add("org/model")
    error = failure("org/model", tmp_path / "out")
    assert error.kind is Kind.DENIED
    assert "token" in str(error)
    with threaded(listening(store)) as url:
        served.storage = url
        hub.fetch("org/model", tmp_path / "out", token=served.token)
    assert tree(tmp_path / "out")["model.safetensors"] == WEIGHTS
    assert seen
    assert set(seen) == {""}
    assert {authorization for path, authorization, _ in served.asked if "tree" in path} >= {f"Bearer {served.token}"}


@pytest.mark.parametrize(
    ("reference", "kind"),
    [("org/none", Kind.NOT_FOUND), ("org/model@none", Kind.NOT_FOUND), ("org/model@" + "0" * 40, Kind.NOT_FOUND)],
)
def test_what_the_hub_does_not_have_is_not_found(served, tmp_path, reference, kind):
    assert failure(reference, tmp_path / "out").kind is kind


def test_a_wrong_token_is_not_told(served, tmp_path):
    error = failure("org/model", tmp_path / "out", token="hf_sesame")
    assert error.kind in {Kind.DENIED, Kind.NOT_FOUND}
    assert "sesame" not in str(error)


def test_a_download_that_was_told_to_end_went_on_to_the_end_of_its_files(tmp_path, monkeypatch):
    fake = FakeHub(models={"org/model": dict(FILES)})
    told, released = threading.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/resolve/" in request.path and request.method == "GET":
            loop.append(asyncio.get_running_loop())
            if not told.is_set():
                told.set()
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            await released.wait()
        return await fake.answer(request)

    loop: list[asyncio.AbstractEventLoop] = []
    with threaded(listening(answer)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        with pytest.raises(KeyboardInterrupt):
            hub.fetch("org/model", tmp_path / "out")
        assert not released.is_set()
        loop[0].call_soon_threadsafe(released.set)
        # The process of a pod would be gone; this one goes on, and waits for what is still on its way.
        for thread in threading.enumerate():
            if thread.name.startswith("hub"):
                thread.join()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_noticed_and_the_next_attempt_keeps_the_rest(served, tmp_path, name):
    served.damaged[name] = bytes(len(FILES[name]))
    error = failure("org/model", tmp_path / "out")
    assert error.kind is Kind.CORRUPT
    assert name in str(error)
    served.damaged.clear()
    served.asked.clear()
    hub.fetch("org/model", tmp_path / "out")
    assert tree(tmp_path / "out") == {name: FILES[name] for name in SAFE}
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["out"]


def test_what_an_attempt_at_another_commit_left_is_not_mixed_in(served, tmp_path):
    served.damaged["model.safetensors"] = b"x" * len(WEIGHTS)
    failure("org/model", tmp_path / "out")
    served.damaged.clear()
    served.models["org/model"] = {"model.safetensors": b"new"}
    hub.fetch("org/model", tmp_path / "out")
    assert tree(tmp_path / "out") == {"model.safetensors": b"new"}


@pytest.mark.parametrize("pattern", ["*.bin", "model*", "*"])
def test_pickles_and_programs_are_refused_even_when_asked_for(served, tmp_path, pattern):
    assert failure("org/model", tmp_path / "out", patterns=[pattern]).kind is Kind.UNSAFE
    assert not [path for path, _, _ in served.asked if "/resolve/" in path]


def test_programs_come_where_exactly_they_are_asked_for(served, tmp_path):
    fetched = hub.fetch("org/model", tmp_path / "out", patterns=[*hub.SAFE_PATTERNS, "*.py"])
    assert fetched.files == tuple(sorted((*SAFE, "modeling_x.py")))


def test_a_model_of_pickles_alone_says_so(served, tmp_path):
    served.models["org/model"] = {"pytorch_model.bin": b"x"}
    error = failure("org/model", tmp_path / "out")
    assert error.kind is Kind.UNSAFE
    assert "safetensors" in str(error)


@pytest.mark.parametrize("name", ["../../etc/x.json", "/etc/x.json", ".cache/x.json", "a\\..\\x.json"])
def test_a_name_that_leads_out_is_refused_before_anything_is_sent(served, tmp_path, name):
    served.models["org/model"] = {name: b"{}"}
    assert failure("org/model", tmp_path / "out").kind is Kind.UNSAFE


def test_a_model_larger_than_the_limits_is_not_begun(served, tmp_path):
    assert failure("org/model", tmp_path / "out", limits=Limits(max_bytes=100)).kind is Kind.TOO_LARGE
    assert failure("org/model", tmp_path / "out", limits=Limits(max_files=2)).kind is Kind.TOO_LARGE
    assert not [path for path, _, _ in served.asked if "/resolve/" in path]


def test_a_token_with_a_line_end_was_told_to_everybody(served, tmp_path):
    """As `echo TOKEN | base64` puts it into a Secret; the refusal of such a header repeats it."""
    served.token = "sesame"
    assert hub.fetch("org/model", tmp_path / "out", token="sesame\n").files == SAFE
    error = failure("org/model", tmp_path / "none", token="ses\name")
    assert error.kind is Kind.INVALID
    assert "ses" not in error.found


def test_a_token_is_not_sent_where_everybody_on_the_way_could_read_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    error = failure("org/model", tmp_path / "out", token="hf_sesame")
    assert error.kind is Kind.UNSAFE
    assert "sesame" not in str(error)


@pytest.mark.parametrize(
    "reference",
    ["", "a/b/c", "../x", "org/..", "org/model@", "org/model@../x", "org/model@a b", "-x", "org/m\n", "http://h/x"],
)
def test_what_is_no_name_of_a_model_is_refused(tmp_path, reference):
    assert failure(reference, tmp_path / "out").kind is Kind.INVALID


@given(st.text(alphabet="ab/.@-_%\\\n:", max_size=30))
def test_any_text_is_a_name_or_an_error_of_ours(text):
    try:
        wanted = hub._Wanted.parse(text, None)
    except FetchError as error:
        assert error.kind is Kind.INVALID  # noqa: PT017
    else:
        assert ".." not in wanted.model + wanted.revision
        assert not set(wanted.model + wanted.revision) & set("%\\\n:@")


@pytest.mark.parametrize(("status", "kind"), [(429, Kind.BUSY), (500, Kind.BUSY), (503, Kind.BUSY), (403, Kind.DENIED)])
def test_what_the_hub_answers_is_one_error(status, kind, clock):
    """huggingface_hub waits for real between its attempts, so it is handed its answers here."""
    import httpx2
    from huggingface_hub.utils import hf_raise_for_status

    request = httpx2.Request("GET", "https://hub.example/api/models/org/model")
    response = httpx2.Response(status, headers={"Retry-After": "7"}, request=request)
    with pytest.raises(FetchError) as caught, hub_failures.understood("org/model", clock, has_token=False):
        hf_raise_for_status(response)
    assert caught.value.kind is kind
    assert caught.value.retry_after_s == (7.0 if kind is Kind.BUSY else None)


def test_a_full_disk_is_one_error(clock):
    import errno

    with pytest.raises(FetchError) as caught, hub_failures.understood("org/model", clock, has_token=False):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (caught.value.kind, caught.value.retryable) == (Kind.DISK_FULL, True)
