"""Pushes reach registries that break off, forget, refuse pieces, or lose their answers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from attrs import define, field

from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci import blobs, image
from inference_server.files.oci.credentials import Credentials
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.threaded import threaded

NOBODY = Credentials.anonymous()
Fault = Callable[[web.Request, "Uploads"], web.Response | None]


@define
class Uploads:
    """A registry that takes blobs as the specification says, and commits the faults it is told to.

    It is not a real one (that is in test/conformance): no real one breaks off when a test wants it to.
    """

    blobs: dict[str, bytes] = field(factory=dict)
    manifests: dict[str, bytes] = field(factory=dict)
    sessions: dict[str, bytearray] = field(factory=dict)
    asked: list[str] = field(factory=list)
    fault: Fault = lambda _request, _uploads: None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        what = request.path.removeprefix("/v2/any/")
        self.asked.append(f"{request.method} {what.partition('/')[0]}")
        if (faulty := self.fault(request, self)) is not None:
            await request.read()
            return faulty
        if request.method == "PUT" and what.startswith("manifests/"):
            self.manifests[what.rpartition("/")[2]] = await request.read()
            return web.Response(status=201)
        if request.method == "HEAD":
            return web.Response(status=200 if what.rpartition("/")[2] in self.blobs else 404)
        if request.method == "POST":
            name = str(len(self.sessions))
            self.sessions[name] = bytearray()
            return web.Response(status=202, headers={"Location": f"/v2/any/uploads/{name}?state=a%2Fb"})
        return await self._session(request, what.rpartition("/")[2])

    async def _session(self, request: web.Request, name: str) -> web.StreamResponse:
        if name not in self.sessions or request.query.get("state") != "a/b":
            return web.Response(status=404)
        kept = self.sessions[name]
        span = request.headers.get("Content-Range", "")
        if span and int(span.split("-")[0]) != len(kept):
            return web.Response(status=416)
        kept += await request.read()
        said = {"Location": f"/v2/any/uploads/{name}?state=a%2Fb", "Range": f"0-{max(len(kept) - 1, 0)}"}
        if request.method == "GET":
            return web.Response(status=204, headers=said)
        if request.method == "PATCH":
            return web.Response(status=202, headers=said)
        digest = f"sha256:{hashlib.sha256(kept).hexdigest()}"
        del self.sessions[name]
        if request.query["digest"] != digest:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID"}]}, status=400)
        self.blobs[digest] = bytes(kept)
        return web.Response(status=201)


@pytest.fixture
def uploads() -> Iterator[tuple[Uploads, str]]:
    made = Uploads()
    with threaded(listening(made.answer)) as url:
        yield made, f"{url.removeprefix('http://')}/any:1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 20_000)
    (tmp_path / "x").write_bytes(os.urandom(90_000))
    return tmp_path


def push(folder: Path, reference: str, clock) -> str:
    return image.push(folder, ["x"], reference, credentials=NOBODY, annotations={}, clock=clock)


def once(method: str, make: Callable[[], web.Response], *, after: int = 0) -> Fault:
    """One fault, in the place of the answer to a request of that method."""
    left = [after]

    def fault(request: web.Request, _: Uploads) -> web.Response | None:
        if request.method != method or "uploads" not in request.path or left[0] < 0:
            return None
        left[0] -= 1
        return make() if left[0] < 0 else None

    return fault


def test_a_piece_that_fails_is_sent_again_from_where_the_registry_is(uploads, folder, clock):
    made, reference = uploads
    made.fault = once("PATCH", lambda: web.Response(status=503), after=2)
    digest = push(folder, reference, clock)
    assert f"sha256:{hashlib.sha256(made.manifests['1']).hexdigest()}" == digest
    assert len(made.blobs) == 2
    assert made.asked.count("GET uploads") == 1
    assert len(clock.waits) == 1


def test_a_registry_without_pieces_gets_all_at_once(uploads, folder, clock):
    made, reference = uploads
    made.fault = lambda request, _: web.Response(status=405) if request.method == "PATCH" else None
    push(folder, reference, clock)
    assert len(made.blobs) == 2
    assert clock.waits == []


def test_an_upload_that_fails_at_its_end_begins_anew(uploads, folder, clock, monkeypatch):
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 10**6)
    made, reference = uploads
    made.fault = once("PUT", lambda: web.Response(status=500))
    push(folder, reference, clock)
    assert len(made.blobs) == 2
    assert len(clock.waits) == 1


def test_an_answer_that_is_lost_is_no_failure_when_the_blob_is_there(uploads, folder, clock):
    made, reference = uploads
    lost: list[str] = []

    def fault(request: web.Request, registry: Uploads) -> web.Response | None:
        if request.method == "PUT" and "uploads" in request.path and not lost:
            lost.append(request.query["digest"])
            kept = registry.sessions.pop(request.path.rpartition("/")[2])
            registry.blobs[request.query["digest"]] = bytes(kept)
            return web.Response(status=502)
        return None

    made.fault = fault
    push(folder, reference, clock)
    assert lost
    assert set(lost) <= set(made.blobs)


def test_a_registry_that_never_gets_further_is_given_up(uploads, folder, clock):
    made, reference = uploads

    def fault(request: web.Request, _: Uploads) -> web.Response | None:
        said = {"Location": request.path_qs, "Range": "0-0"}
        return web.Response(status=202, headers=said) if request.method == "PATCH" else None

    made.fault = fault
    with pytest.raises(FetchError):
        push(folder, reference, clock)
    assert made.asked.count("PATCH uploads") <= 10
    assert made.manifests == {}


def test_uploads_are_not_sent_to_somebody_else(uploads, folder, clock):
    made, reference = uploads
    elsewhere = {"Location": "http://127.0.0.2:9/v2/any/uploads/0"}
    made.fault = once("POST", lambda: web.Response(status=202, headers=elsewhere))
    with pytest.raises(FetchError) as caught:
        push(folder, reference, clock)
    assert caught.value.kind is Kind.UNSAFE


def test_a_registry_that_knows_no_mount_without_a_source_is_asked_without(uploads, folder, clock):
    made, reference = uploads
    made.fault = lambda request, _: web.Response(status=400) if "mount" in request.query else None
    push(folder, reference, clock)
    assert len(made.blobs) == 2


def test_a_push_that_is_not_allowed_says_so_and_leaves_nothing(uploads, folder, clock):
    made, reference = uploads
    body = {"errors": [{"code": "DENIED", "message": "quota is used up"}]}
    made.fault = once("POST", lambda: web.json_response(body, status=403))
    with pytest.raises(FetchError) as caught:
        push(folder, reference, clock)
    assert caught.value.kind is Kind.DENIED
    assert "quota is used up" in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["x"]


def test_a_digest_is_nothing_to_push_to(folder, clock):
    with pytest.raises(FetchError) as caught:
        push(folder, "r.example/x@sha256:" + "0" * 64, clock)
    assert caught.value.kind is Kind.INVALID


def test_what_a_push_that_was_killed_left_stayed_in_the_volume(uploads, folder, clock):
    (folder / ".pushing").mkdir()
    (folder / ".pushing" / "layer").write_bytes(bytes(100))
    push(folder, uploads[1], clock)
    assert [path.name for path in folder.iterdir()] == ["x"]
