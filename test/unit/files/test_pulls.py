"""Images and artifacts are pulled whole, from whoever may give them, or not at all."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from pathlib import Path

import pytest
from aiohttp import web

from inference_server.files import disk
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.parts import part_of
from kaito_controller.testing.sources.registry import MANIFEST, FakeRegistry
from kaito_controller.testing.threaded import threaded

NOBODY = Credentials.anonymous()
TITLE = "org.opencontainers.image.title"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failure(reference: str, folder: Path, **options) -> FetchError:
    """What a pull fails with; nothing of it may be left where readers look, or beside."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(FetchError) as caught:
        image.pull(reference, folder, credentials=options.pop("credentials", NOBODY), **options)
    assert sorted(folder.parent.iterdir()) == before
    return caught.value


def test_an_image_is_what_its_layers_make_of_each_other(served, tmp_path):
    reference = served.image(
        [("etc/passwd", b"root"), ("data", None), ("data/a", b"1"), ("data/b", b"1"), ("data/sub/c", b"1")],
        [("data/b", b"2"), ("data/.wh.a", b""), ("data/d/e", b"2")],
        [("data/sub/.wh..wh..opq", b""), ("data/sub/f", b"3")],
        annotations={"sh.kaito.model.name": "phi-4"},
    )
    pulled = image.pull(reference, tmp_path / "out", credentials=NOBODY)
    assert tree(tmp_path / "out") == {"b": b"2", "d/e": b"2", "sub/f": b"3"}
    assert pulled.files == ("b", "d/e", "sub/f")
    assert pulled.annotations == {"sh.kaito.model.name": "phi-4"}
    assert pulled.digest == pulled.named == image.resolve(reference, credentials=NOBODY)


def test_a_layer_without_compression_is_read_as_well(served, tmp_path, archive):
    layer = served.registry.push_blob(archive([("data/a", b"1")]), "application/vnd.oci.image.layer.v1.tar")
    served.registry.push("1", [layer])
    image.pull(served.reference(), tmp_path / "out", credentials=NOBODY)
    assert tree(tmp_path / "out") == {"a": b"1"}


def test_files_are_readable_by_everybody_and_executable_by_nobody(served, tmp_path):
    program = tarfile.TarInfo()
    program.mode = 0o6777
    image.pull(served.image([("data/x", program)]), tmp_path / "out", credentials=NOBODY)
    assert (tmp_path / "out" / "x").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o755


def test_the_titled_files_of_an_artifact_are_its_content(served, tmp_path, archive):
    push = served.registry.push_blob
    packed = gzip.compress(archive([("folder/x", b"1"), ("folder/y", b"2")]), mtime=0)
    marked = {TITLE: "folder", "io.deis.oras.content.unpack": "true"}
    layers = [
        push(b"{}", "application/json", {TITLE: "adapter_config.json"}),
        push(b"w", "application/vnd.oci.image.layer.v1.tar", {TITLE: "deep/adapter_model.safetensors"}),
        push(packed, "application/vnd.oci.image.layer.v1.tar+gzip", marked),
    ]
    served.registry.push("1", layers)
    image.pull(served.reference(), tmp_path / "out", credentials=NOBODY)
    assert tree(tmp_path / "out") == {
        "adapter_config.json": b"{}",
        "deep/adapter_model.safetensors": b"w",
        "folder/x": b"1",
        "folder/y": b"2",
    }


def test_an_artifact_whose_titles_are_below_data_is_taken_from_there(served, tmp_path):
    layer = served.registry.push_blob(b"{}", "application/json", {TITLE: "data/adapter_config.json"})
    served.registry.push("1", [layer])
    image.pull(served.reference(), tmp_path / "out", credentials=NOBODY)
    assert tree(tmp_path / "out") == {"adapter_config.json": b"{}"}


def _entry(served, tag: str, content: bytes, platform: dict[str, str] | None, **more) -> dict[str, object]:
    served.image([("data/who", content)], tag=tag)
    raw, media_type = served.registry.manifests[tag]
    entry = served.registry.push_blob(raw, media_type)
    return entry | ({"platform": platform} if platform else {}) | more


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        (["amd64", "none"], b"amd64"),
        (["none"], b"none"),
        ([], b"arm64"),
    ],
)
def test_of_an_index_the_image_for_amd64_is_taken_else_any_that_holds_the_data(served, tmp_path, others, expected):
    attestation = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    entries = [
        _entry(served, "x", b"attestation", {"os": "unknown", "architecture": "unknown"}, **attestation),
        _entry(served, "a", b"arm64", {"os": "linux", "architecture": "arm64"}),
        *([_entry(served, "b", b"amd64", {"os": "linux", "architecture": "amd64"})] if "amd64" in others else []),
        *([_entry(served, "c", b"none", None)] if "none" in others else []),
    ]
    digest = served.registry.push_index("all", entries)
    pulled = image.pull(served.reference("all"), tmp_path / "out", credentials=NOBODY)
    assert tree(tmp_path / "out") == {"who": expected}
    assert image.resolve(served.reference("all"), credentials=NOBODY) == pulled.named == digest != pulled.digest


def test_an_index_without_anything_for_linux_says_what_it_has(served, tmp_path):
    served.registry.push_index("1", [_entry(served, "w", b"", {"os": "windows", "architecture": "amd64"})])
    error = failure(served.reference(), tmp_path / "out")
    assert error.kind is Kind.NOT_FOUND
    assert "windows/amd64" in str(error)


def test_an_index_that_leads_to_itself_ends(served, tmp_path):
    inner = served.registry.push_index("0", [])
    for depth in range(1, 6):
        raw, media_type = served.registry.manifests[inner]
        inner = served.registry.push_index(str(depth), [served.registry.push_blob(raw, media_type)])
    assert failure(served.reference("5"), tmp_path / "out").kind is Kind.CORRUPT


def test_by_digest_what_comes_must_have_that_digest(served, tmp_path):
    reference = served.image([("data/a", b"1")])
    digest = image.resolve(reference, credentials=NOBODY)
    served.registry.manifests[digest] = (b"{}", MANIFEST)
    assert failure(f"{served.host}/any@{digest}", tmp_path / "out").kind is Kind.CORRUPT


def test_a_blob_that_is_not_what_its_digest_says_is_not_unpacked(served, tmp_path):
    reference = served.image([("data/a", b"1")])
    for digest, content in served.registry.blobs.items():
        served.registry.blobs[digest] = content[:-1] + bytes([content[-1] ^ 1])
    error = failure(reference, tmp_path / "out")
    assert error.kind is Kind.CORRUPT
    assert "digest" in str(error)


def test_a_blob_longer_than_announced_is_given_up_before_its_end(served, tmp_path):
    reference = served.image([("data/a", b"1")])
    for digest, content in served.registry.blobs.items():
        served.registry.blobs[digest] = content + bytes(10_000)
    error = failure(reference, tmp_path / "out")
    assert error.kind is Kind.CORRUPT
    assert "announced" in str(error)


def test_an_image_without_the_folder_says_how_to_make_one(served, tmp_path):
    error = failure(served.image([("a", b"1")]), tmp_path / "out")
    assert error.kind is Kind.INVALID
    assert "/data" in str(error)


def test_a_layer_compressed_by_zstd_is_named(served, tmp_path):
    served.registry.push("1", [served.registry.push_blob(b"x", "application/vnd.oci.image.layer.v1.tar+zstd")])
    error = failure(served.reference(), tmp_path / "out")
    assert error.kind is Kind.INVALID
    assert "zstd" in str(error)


@pytest.mark.parametrize(
    "junk",
    [b"", b"not a tar at all", gzip.compress(b"x" * 2000, mtime=0), gzip.compress(b"x", mtime=0)[:-3]],
    ids=["empty", "text", "gzip of text", "cut gzip"],
)
def test_a_layer_that_is_no_archive_is_refused(served, tmp_path, junk):
    served.registry.push("1", [served.registry.push_blob(junk, "application/vnd.oci.image.layer.v1.tar+gzip")])
    assert failure(served.reference(), tmp_path / "out").kind in {Kind.CORRUPT, Kind.INVALID}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"null",
        b"{}",
        b'{"schemaVersion": 1, "fsLayers": []}',
        b'{"layers": [{"digest": "sha512:00", "size": 1}]}',
        b'{"layers": [{"digest": "sha256:' + b"0" * 64 + b'", "size": -1}]}',
        b'{"layers": [7]}',
        json.dumps({"layers": [{}] * 1001}).encode(),
    ],
)
def test_a_manifest_that_is_none_is_refused(served, tmp_path, body):
    served.registry.manifests["1"] = (body, MANIFEST)
    assert failure(served.reference(), tmp_path / "out").kind is Kind.CORRUPT


def test_a_manifest_beyond_what_registries_take_is_not_read(served, tmp_path):
    served.registry.manifests["1"] = (b" " * (4 * 2**20 + 1), MANIFEST)
    assert failure(served.reference(), tmp_path / "out").kind is Kind.TOO_LARGE


# Who is let in.


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_private_image_opens_with_the_secret_and_with_nothing_else(served, tmp_path, secrets, scheme):
    served.registry.user, served.registry.scheme = "me:pw", scheme
    reference = served.image([("data/a", b"1")])
    image.pull(reference, tmp_path / "out", credentials=secrets({served.host: "me:pw"}))
    assert tree(tmp_path / "out") == {"a": b"1"}
    for wrong in (NOBODY, secrets({served.host: "me:other"}), secrets({"elsewhere.example": "me:pw"})):
        error = failure(reference, tmp_path / "out2", credentials=wrong)
        assert error.kind is Kind.DENIED
        assert "pw" not in str(error)
        assert "other" not in str(error)


def test_of_several_secrets_the_one_that_opens_is_found(served, tmp_path, secrets):
    served.registry.user = "me:pw"
    reference = served.image([("data/a", b"1")])
    credentials = secrets({served.host: "me:old"}, {served.host: "me:pw"})
    image.pull(reference, tmp_path / "out", credentials=credentials)
    assert tree(tmp_path / "out") == {"a": b"1"}


def test_a_secret_that_is_wrong_does_not_close_a_public_image(served, tmp_path, secrets):
    reference = served.image([("data/a", b"1")])
    image.pull(reference, tmp_path / "out", credentials=secrets({served.host: "me:old"}))
    assert [asked for asked in served.registry.asked if asked[1]] == []


def test_a_token_that_ran_out_is_renewed(served, tmp_path, secrets):
    served.registry.user = "me:pw"
    reference = served.image([("data/a", b"1")])
    answer, refused = served.registry.answer, []

    async def expiring(request: web.Request) -> web.StreamResponse:
        if "/blobs/" in request.path and not refused:
            refused.append(request.path)
            challenge = f'Bearer realm="{request.url.with_path("/token")}",service="registry"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return await answer(request)

    with threaded(listening(expiring)) as url:
        host = url.removeprefix("http://")
        image.pull(reference.replace(served.host, host), tmp_path / "out", credentials=secrets({host: "me:pw"}))
    assert refused
    assert tree(tmp_path / "out") == {"a": b"1"}


def test_credentials_do_not_follow_a_redirect_to_a_blob_store(served, tmp_path, secrets):
    seen: list[tuple[str, str]] = []

    async def store(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, request.headers.get("Authorization", "")))
        return part_of(request, served.registry.blobs[request.path.removeprefix("/")])

    served.registry.user = "me:pw"
    reference = served.image([("data/a", b"1")])
    with threaded(listening(store)) as url:
        served.registry.storage = url
        image.pull(reference, tmp_path / "out", credentials=secrets({served.host: "me:pw"}))
    assert tree(tmp_path / "out") == {"a": b"1"}
    assert seen
    assert {authorization for _, authorization in seen} == {""}


def test_a_registry_with_a_certificate_that_nobody_trusts_is_said_so(tmp_path, secrets):
    from kaito_controller.testing.authority import Authority

    authority = Authority.make()
    registry = FakeRegistry()
    with threaded(listening(registry.answer, authority.server_context())) as url:
        host = url.removeprefix("https://")
        error = failure(f"{host}/any:1", tmp_path / "out")
        assert error.kind is Kind.UNREACHABLE
        assert "ca.crt" in str(error)
        trusted = secrets({host: "me:pw"}, certificate=authority.pem)
        assert failure(f"{host}/any:1", tmp_path / "out", credentials=trusted).kind is Kind.NOT_FOUND


# What happens on the way.


def broken_off(registry: FakeRegistry, *, ranges: bool, times: int = 1):
    """A registry whose blobs break off in their middle, some times."""
    broken: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/blobs/" not in request.path or len(broken) >= times:
            registry.ranges = ranges
            return await registry.answer(request)
        content = registry.blobs[request.path.rpartition("/")[2]]
        broken.append(request.path)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        request.transport.abort()
        return response

    return answer


@pytest.mark.parametrize("ranges", [True, False])
def test_a_blob_that_breaks_off_goes_on_where_it_ended(served, tmp_path, clock, ranges):
    content = os.urandom(300_000)
    reference = served.image([("data/a", content)])
    with threaded(listening(broken_off(served.registry, ranges=ranges))) as url:
        told: list[tuple[int, int | None]] = []
        image.pull(
            reference.replace(served.host, url.removeprefix("http://")),
            tmp_path / "out",
            credentials=NOBODY,
            clock=clock,
            progress=lambda done, total: told.append((done, total)),
        )
    assert tree(tmp_path / "out") == {"a": content}
    asked = [span for path, _, span in served.registry.asked if "/blobs/" in path]
    assert [bool(span) for span in asked] == [True]
    assert told[-1][0] == told[-1][1]


def test_a_blob_that_always_breaks_off_is_given_up(served, tmp_path, clock):
    reference = served.image([("data/a", os.urandom(3_000))])
    with threaded(listening(broken_off(served.registry, ranges=False, times=10**6))) as url:
        error = failure(reference.replace(served.host, url.removeprefix("http://")), tmp_path / "out", clock=clock)
    assert error.kind is Kind.CORRUPT
    assert error.retryable
    assert "after" in str(error)


def refusing(registry: FakeRegistry, statuses: list[int], **headers: str):
    """A registry that answers with these statuses first."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "/manifests/" in request.path and statuses:
            return web.Response(status=statuses.pop(0), headers=headers)
        return await registry.answer(request)

    return answer


def test_a_busy_registry_is_asked_again_after_what_it_says(served, tmp_path, clock):
    reference = served.image([("data/a", b"1")])
    with threaded(listening(refusing(served.registry, [429, 503], **{"Retry-After": "7"}))) as url:
        reference = reference.replace(served.host, url.removeprefix("http://"))
        image.pull(reference, tmp_path / "out", credentials=NOBODY, clock=clock)
    assert clock.waits == [7.0, 7.0]
    assert tree(tmp_path / "out") == {"a": b"1"}


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_registry_that_stays_busy_is_left_for_later(served, tmp_path, clock, status):
    with threaded(listening(refusing(served.registry, [status] * 100))) as url:
        error = failure(f"{url.removeprefix('http://')}/any:1", tmp_path / "out", clock=clock)
    assert (error.kind, error.retryable) == (Kind.BUSY, True)
    assert clock.waits == sorted(clock.waits)
    assert len(clock.waits) == Limits().attempts - 1


def test_a_registry_that_asks_for_an_hour_is_not_waited_for(served, tmp_path, clock):
    with threaded(listening(refusing(served.registry, [429] * 100, **{"Retry-After": "3600"}))) as url:
        error = failure(f"{url.removeprefix('http://')}/any:1", tmp_path / "out", clock=clock)
    assert (error.kind, error.retry_after_s) == (Kind.BUSY, 3600.0)
    assert clock.waits == []


@pytest.mark.parametrize(("status", "kind"), [(401, Kind.DENIED), (403, Kind.DENIED), (404, Kind.NOT_FOUND)])
def test_refusals_are_not_asked_again(served, tmp_path, clock, status, kind):
    with threaded(listening(refusing(served.registry, [status] * 100))) as url:
        error = failure(f"{url.removeprefix('http://')}/any:1", tmp_path / "out", clock=clock)
    assert (error.kind, error.retryable) == (kind, False)
    assert clock.waits == []


def test_nobody_who_listens_is_unreachable(tmp_path, clock):
    from kaito_controller.testing.ports import free_port

    error = failure(f"127.0.0.1:{free_port()}/any:1", tmp_path / "out", clock=clock)
    assert (error.kind, error.retryable) == (Kind.UNREACHABLE, True)


# Where it goes.


def test_an_older_folder_is_replaced_as_a_whole(served, tmp_path):
    out = tmp_path / "out"
    image.pull(served.image([("data/a", b"1"), ("data/b", b"1")]), out, credentials=NOBODY)
    image.pull(served.image([("data/b", b"2")], tag="2"), out, credentials=NOBODY)
    assert tree(out) == {"b": b"2"}
    failure(served.reference("none"), out)
    assert tree(out) == {"b": b"2"}


def test_what_a_crash_left_is_cleared(served, tmp_path):
    (tmp_path / ".out.fetching" / "content").mkdir(parents=True)
    (tmp_path / ".out.fetching" / "content" / "stale").write_text("x")
    (tmp_path / ".out.replaced").mkdir()
    image.pull(served.image([("data/a", b"1")]), tmp_path / "out", credentials=NOBODY)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert tree(tmp_path / "out") == {"a": b"1"}


def test_a_mounted_volume_is_filled_entry_by_entry(served, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept").write_text("mine")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == out)
    image.pull(served.image([("data/a", b"1"), ("data/sub/b", b"2")]), out, credentials=NOBODY)
    assert tree(out) == {"a": b"1", "sub/b": b"2", "kept": b"mine"}


def test_a_disk_without_room_is_said_before_anything_is_sent(served, tmp_path, monkeypatch):
    reference = served.image([("data/a", os.urandom(1000))])
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    error = failure(reference, tmp_path / "out")
    assert (error.kind, error.retryable) == (Kind.DISK_FULL, True)


def test_an_image_larger_than_the_limit_is_not_begun(served, tmp_path):
    reference = served.image([("data/a", os.urandom(5000))])
    error = failure(reference, tmp_path / "out", limits=Limits(max_bytes=1000))
    assert error.kind is Kind.TOO_LARGE
    assert not [path for path, _, _ in served.registry.asked if "/blobs/" in path]
