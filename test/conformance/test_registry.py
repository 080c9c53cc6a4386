"""Pulls and pushes against a real registry: distribution, with TLS of its own authority and a password."""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci import blobs, image
from inference_server.files.oci.credentials import Credentials
from inference_server.files.oci.reference import Reference
from kaito_controller.testing.processes import Processes
from kaito_controller.testing.registry import Registry, RegistryError
from kaito_controller.testing.threaded import InstantClock

NAMES = ("adapter_config.json", "adapter_model.safetensors")
ANNOTATIONS = {"sh.kaito.model.name": "phi-4-mini-instruct"}
OCI = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    made = Registry(folder=folder / "registry", processes=Processes(folder, die_with_parent=True))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def credentials(registry: Registry, tmp_path: Path) -> Credentials:
    return Credentials.of_folders([registry.mount(tmp_path / "secret")])


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """What a tuning leaves."""
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / NAMES[0]).write_text('{"r": 8}')
    (folder / NAMES[1]).write_bytes(os.urandom(200_000))
    (folder / "optimizer.pt").write_bytes(b"not asked for")
    return folder


def push(folder: Path, reference: str, credentials: Credentials, **options) -> str:
    return image.push(folder, NAMES, reference, credentials=credentials, annotations=ANNOTATIONS, **options)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_pushed_is_pulled_again_byte_for_byte(registry, credentials, result, tmp_path):
    reference = f"{registry.host}/team/adapter:1"
    digest = push(result, reference, credentials)
    assert image.resolve(reference, credentials=credentials) == digest
    pulled = image.pull(reference, tmp_path / "out", credentials=credentials)
    assert (pulled.digest, pulled.annotations, pulled.files) == (digest, ANNOTATIONS, NAMES)
    assert tree(tmp_path / "out") == {name: (result / name).read_bytes() for name in NAMES}
    by_digest = image.pull(f"{registry.host}/team/adapter@{digest}", tmp_path / "again", credentials=credentials)
    assert by_digest == pulled
    assert sorted(path.name for path in result.iterdir()) == sorted([*NAMES, "optimizer.pt"])


def test_the_same_result_pushed_twice_is_the_same_image(registry, credentials, result, tmp_path):
    one = push(result, f"{registry.host}/twice:1", credentials)
    told: list[tuple[int, int | None]] = []
    for name in NAMES:
        os.utime(result / name, (1, 1))
        (result / name).chmod(0o600)
    assert push(result, f"{registry.host}/twice:2", credentials, progress=lambda *done: told.append(done)) == one
    # The registry has its layer already, so nothing of it is sent.
    assert len(told) == 1


def test_the_image_is_one_that_container_runtimes_take(registry, credentials, result):
    push(result, f"{registry.host}/shape:1", credentials)
    manifest = _get(registry, "shape/manifests/1")
    config = _get(registry, f"shape/blobs/{manifest['config']['digest']}")
    assert manifest["mediaType"] == OCI
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar+gzip"]
    assert (config["os"], config["architecture"], config["rootfs"]["type"]) == ("linux", "amd64", "layers")
    assert len(config["rootfs"]["diff_ids"]) == 1


def test_a_large_layer_goes_in_pieces(registry, credentials, result, tmp_path, monkeypatch):
    monkeypatch.setattr(blobs, "CHUNK_BYTES", 64 * 1024)
    told: list[int] = []
    reference = f"{registry.host}/pieces:1"
    push(result, reference, credentials, progress=lambda done, _: told.append(done))
    image.pull(reference, tmp_path / "out", credentials=credentials)
    assert tree(tmp_path / "out") == {name: (result / name).read_bytes() for name in NAMES}
    assert told == sorted(told)
    assert registry.processes.log("registry").read_text().count('"PATCH /v2/pieces/blobs') >= 3


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_wrong_password_pulls_and_pushes_nothing(registry, credentials, result, tmp_path, password):
    reference = f"{registry.host}/closed:1"
    push(result, reference, credentials)
    config = json.loads((tmp_path / "secret" / ".dockerconfigjson").read_text())
    config["auths"][registry.host] = {"username": "kaito", "password": password}
    (tmp_path / "secret" / ".dockerconfigjson").write_text(json.dumps(config))
    wrong = Credentials.of_folders([tmp_path / "secret"])
    for action in (
        lambda: image.pull(reference, tmp_path / "out", credentials=wrong),
        lambda: image.resolve(reference, credentials=wrong),
        lambda: push(result, f"{registry.host}/closed:2", wrong),
    ):
        with pytest.raises(FetchError) as caught:
            action()
        assert caught.value.kind is Kind.DENIED
        assert "wrong" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(FetchError, match="404"):
        image.resolve(f"{registry.host}/closed:2", credentials=credentials)


def test_without_the_certificate_nothing_is_said_to_it(registry, result, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / ".dockerconfigjson").write_text(registry.docker_config)
    distrusting = Credentials.of_folders([tmp_path / "secret"])
    assert distrusting.logins(Reference.parse(f"{registry.host}/x"))
    with pytest.raises(FetchError) as caught:
        push(result, f"{registry.host}/x:1", distrusting)
    assert caught.value.kind is Kind.UNREACHABLE
    assert "ca.crt" in str(caught.value)


def test_an_unknown_tag_is_not_found(registry, credentials, tmp_path):
    for name in ("none:1", "team/adapter:none"):
        with pytest.raises(FetchError) as caught:
            image.pull(f"{registry.host}/{name}", tmp_path / "out", credentials=credentials)
        assert caught.value.kind is Kind.NOT_FOUND


def test_a_registry_that_restarts_meanwhile_is_waited_for(registry, credentials, result, tmp_path):
    """It is down for the first attempts, and up for a later one."""

    class Restarting(InstantClock):
        def sleep(self, seconds: float, /) -> None:
            super().sleep(seconds)
            if len(self.waits) == 2:
                registry.start()

    reference = f"{registry.host}/restart:1"
    digest = push(result, reference, credentials)
    registry.stop()
    clock = Restarting()
    pulled = image.pull(reference, tmp_path / "out", credentials=credentials, clock=clock)
    assert pulled.digest == digest
    assert len(clock.waits) == 2


def test_a_registry_whose_port_is_taken_says_so(registry, tmp_path):
    other = Registry(folder=tmp_path / "other", processes=Processes(tmp_path, die_with_parent=True))
    other.folder.mkdir()
    (other.folder / "port").write_text(registry.host.rpartition(":")[2])
    with pytest.raises(RegistryError, match=r"in use|ended"):
        other.start()


def _get(registry: Registry, path: str) -> dict:
    auth = json.loads(registry.docker_config)["auths"][registry.host]["auth"]
    request = urllib.request.Request(
        f"https://{registry.host}/v2/{path}", headers={"Authorization": f"Basic {auth}", "Accept": OCI}
    )
    context = ssl.create_default_context(cafile=registry.certificate)
    with urllib.request.urlopen(request, context=context) as answer:
        return json.load(answer)
