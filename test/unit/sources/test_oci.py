"""Models in registries: as layers that are files, in archives, and behind tokens."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.http import AioWeb
from kaito_controller.sources.model_files import ModelFiles
from kaito_controller.sources.oci.credentials import Credentials
from kaito_controller.sources.oci.reference import OciReference
from kaito_controller.sources.oci.registry import is_neighbour
from kaito_controller.sources.reference import Models, parse_reference
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.checkpoints import TINY_BYTES, safetensors, tiny_model
from kaito_controller.testing.sources.parts import part_of
from kaito_controller.testing.sources.registry import INDEX, MANIFEST, FakeRegistry, digest_of

RAW = "application/vnd.cncf.model.weight.v1.raw"
CNCF_TAR = "application/vnd.cncf.model.weight.v1.tar"
TAR = "application/vnd.oci.image.layer.v1.tar"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
TITLE = "org.opencontainers.image.title"
PATH = "org.cncf.model.filepath"


def by_title(registry: FakeRegistry, files: Mapping[str, bytes], key: str = TITLE, media_type: str = TAR) -> None:
    """Push files as oras does: each a layer, called a tar, with its name."""
    registry.push("v1", [registry.push_blob(content, media_type, {key: name}) for name, content in files.items()])


def archived(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def config_of(url: str, user: str) -> Credentials:
    pair = base64.b64encode(user.encode()).decode()
    return Credentials.parse(json.dumps({"auths": {url.removeprefix("http://"): {"auth": pair}}}).encode())


async def read(registry: FakeRegistry, end: str = ":v1", user: str = "", name: str = "team/model") -> ModelFiles:
    async with listening(registry.answer) as url, AioWeb() as http:
        models = Models(web=http, registries=config_of(url, user) if user else Credentials())
        return await models.read(parse_reference(f"oci://{url.removeprefix('http://')}/{name}{end}"))


async def refusal(registry: FakeRegistry, end: str = ":v1", user: str = "") -> SourceError:
    with pytest.raises(SourceError) as caught:
        await read(registry, end, user)
    assert "pass" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("key", "media_type"), [(TITLE, TAR), (PATH, RAW), ("org.cnai.model.filepath", RAW), (TITLE, "application/json")]
)
async def test_layers_that_are_files_are_read_in_parts(key: str, media_type: str):
    """As ORAS and ModelPack pack them; weights are never read whole."""
    registry = FakeRegistry()
    by_title(registry, tiny_model(), key, media_type)
    model = await read(registry)
    assert model.weight_bytes == TINY_BYTES
    assert model.config["hidden_size"] == 8
    assert model.revision == digest_of(registry.manifests["v1"][0])
    weights = {digest_of(content) for name, content in tiny_model().items() if name.endswith("-of-00002.safetensors")}
    assert {path.rsplit("/", 1)[1] for path, _, span in registry.asked if span} == weights


@pytest.mark.parametrize("folder", ["", "models/", "./models/tiny/", "/workspace/weights/"])
async def test_models_in_images_are_found_in_their_archives(folder: str):
    """Wherever they lie; the operating system's layers below are not looked at."""
    registry = FakeRegistry()
    system = registry.push_blob(b"not looked at", TAR)
    model = registry.push_blob(archived({folder + name: content for name, content in tiny_model().items()}), TAR)
    registry.push("v1", [system, model])
    found = await read(registry)
    assert (found.weight_bytes, found.generation_config) == (TINY_BYTES, {"eos_token_id": 2})
    assert not [path for path, _, _ in registry.asked if system["digest"] in path]


async def test_an_archive_of_modelpack_is_opened_though_it_has_a_path():
    """And so is a folder that ORAS packed without compression."""
    registry = FakeRegistry()
    by_title(registry, {"model": archived(tiny_model())}, PATH, CNCF_TAR)
    assert (await read(registry)).weight_bytes == TINY_BYTES
    layer = registry.push_blob(archived(tiny_model()), TAR, {TITLE: "m", "io.deis.oras.content.unpack": "true"})
    registry.push("v1", [layer])
    assert (await read(registry)).weight_bytes == TINY_BYTES


async def test_a_file_in_a_later_layer_hides_the_earlier_one():
    """As in the container."""
    registry = FakeRegistry()
    old = tiny_model() | {"config.json": b'{"old": true}'}
    layers = [archived({f"m/{name}": content for name, content in files.items()}) for files in (old, tiny_model())]
    registry.push("v1", [registry.push_blob(content, TAR) for content in layers])
    assert "old" not in (await read(registry)).config


async def test_weights_and_configuration_may_lie_in_different_layers():
    """One COPY each."""
    registry = FakeRegistry()
    weights = {f"m/{name}": content for name, content in tiny_model().items() if name.endswith(".safetensors")}
    others = {f"m/{name}": content for name, content in tiny_model().items() if not name.endswith(".safetensors")}
    registry.push("v1", [registry.push_blob(archived(files), TAR) for files in (others, weights)])
    assert (await read(registry)).weight_bytes == TINY_BYTES


MODEL_TYPE = {"artifactType": "application/vnd.cncf.model.manifest.v1+json"}
AMD64 = {"platform": {"os": "linux", "architecture": "amd64"}}


@pytest.mark.parametrize("marks", [MODEL_TYPE, AMD64, {}])
async def test_of_an_index_the_model_is_read(marks: dict[str, Any]):
    """By its type, or for the platform that GPUs are on."""
    registry = FakeRegistry()
    by_title(registry, tiny_model())
    content = registry.manifests["v1"][0]
    entry = {"mediaType": MANIFEST, "digest": digest_of(content), "size": len(content)}
    other = entry | {"digest": digest_of(b""), "platform": {"os": "linux", "architecture": "s390x"}}
    registry.push_index("v1", [other, entry | marks])
    assert (await read(registry)).revision == digest_of(content)


async def test_an_index_for_other_platforms_has_no_model():
    """Said with the platform that is meant."""
    registry = FakeRegistry()
    platform = {"os": "windows", "architecture": "amd64"}
    registry.push_index("v1", [{"mediaType": MANIFEST, "digest": digest_of(b""), "size": 0, "platform": platform}])
    assert "must have a manifest for linux/amd64" in str(await refusal(registry))
    registry.push_index("v2", [{"mediaType": INDEX, "digest": digest_of(b""), "size": 0}])
    assert (await refusal(registry, ":v2")).trouble is Trouble.MISSING


async def test_compressed_archives_are_refused_with_what_to_do():
    """Nothing of them is fetched."""
    registry = FakeRegistry()
    layer = registry.push_blob(b"\x1f\x8b", GZIP)
    registry.push("v1", [layer])
    error = await refusal(registry)
    assert error.trouble is Trouble.UNSUPPORTED
    assert "1 of 1 layers are compressed: push the files as they are" in str(error)
    assert not [path for path, _, _ in registry.asked if layer["digest"] in path]


async def test_artifacts_without_a_model_or_with_two_are_refused():
    """With what was found."""
    registry = FakeRegistry()
    by_title(registry, {"README.md": b"x"})
    assert "found 'README.md'" in str(await refusal(registry))
    by_title(registry, {"../config.json": b"{}", "../model.safetensors": safetensors({})})
    assert (await refusal(registry)).trouble is Trouble.MISSING
    two = {f"{folder}/{name}": content for folder in ("a", "b") for name, content in tiny_model().items()}
    by_title(registry, two)
    assert "must hold one model; found 2, in 'a', 'b'" in str(await refusal(registry))


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
async def test_a_registry_that_asks_who_we_are_is_told(scheme: str):
    """Once for all requests, by a token or by the password itself."""
    registry = FakeRegistry(user="me:password", scheme=scheme)
    by_title(registry, tiny_model())
    assert (await read(registry, user="me:password")).weight_bytes == TINY_BYTES
    assert len([path for path, _, _ in registry.asked if path == "/token"]) == (scheme == "Bearer")
    basic = [path for path, authorization, _ in registry.asked if authorization.startswith("Basic")]
    assert basic == ["/token"] if scheme == "Bearer" else len(basic) > 3


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
@pytest.mark.parametrize(
    ("user", "remedy"), [("", "give a docker config with an entry"), ("me:other", "must be allowed")]
)
async def test_who_is_not_let_in_is_told(scheme: str, user: str, remedy: str):
    """Without a password, or with a wrong one."""
    registry = FakeRegistry(user="me:password", scheme=scheme)
    by_title(registry, tiny_model())
    error = await refusal(registry, user=user)
    assert error.trouble is Trouble.DENIED
    assert remedy in str(error)


async def test_blobs_may_lie_at_another_host_which_gets_no_token():
    """As cloud registries keep them."""
    asked: list[str] = []
    registry = FakeRegistry(user="me:password")
    by_title(registry, tiny_model())

    async def storage(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Authorization", ""))
        return part_of(request, registry.blobs[request.path.rsplit("/", 1)[1]])

    async with listening(storage) as url:
        registry.storage = url
        assert (await read(registry, user="me:password")).weight_bytes == TINY_BYTES
    assert set(asked) == {""}


async def test_a_registry_without_parts_is_told():
    """The start of a file does; a file in the middle of an archive does not."""
    registry = FakeRegistry(ranges=False)
    by_title(registry, tiny_model())
    assert (await read(registry)).weight_bytes == TINY_BYTES
    registry.push("v1", [registry.push_blob(archived(tiny_model()), TAR)])
    assert (await refusal(registry)).trouble is Trouble.UNSUPPORTED


async def test_what_a_digest_names_must_have_it():
    """A manifest by digest, and files that are blobs."""
    registry = FakeRegistry()
    by_title(registry, tiny_model())
    digest = digest_of(registry.manifests["v1"][0])
    assert (await read(registry, f"@{digest}")).revision == digest
    registry.manifests[digest] = (registry.manifests["v1"][0] + b" ", MANIFEST)
    assert "the registry sends other bytes" in str(await refusal(registry, f"@{digest}"))
    config = tiny_model()["config.json"]
    registry.blobs[digest_of(config)] = config.replace(b"8", b"9")
    assert "config.json: must have the digest that names it" in str(await refusal(registry))


async def test_an_absent_artifact_is_told():
    """Name, tag or digest."""
    assert "check name, tag and digest" in str(await refusal(FakeRegistry(), ":v2"))


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"layers": [1]},
        {"layers": [{"digest": "sha256:x", "size": 1}]},
        {"layers": [{"digest": digest_of(b""), "size": -1}]},
        {"layers": [{"digest": digest_of(b""), "size": True}]},
        {"layers": [{"digest": "../../../etc/hosts", "size": 1}]},
        {"manifests": [{}] * 5000},
    ],
)
async def test_manifests_of_another_form_are_refused(manifest: dict[str, Any]):
    """A digest becomes part of a path, so it is one."""
    registry = FakeRegistry()
    registry.push_manifest("v1", manifest, MANIFEST)
    assert (await refusal(registry)).trouble is Trouble.MALFORMED


@pytest.mark.parametrize(
    ("text", "registry", "repository", "wanted", "endpoint"),
    [
        ("oci://ghcr.io/org/m:v1", "ghcr.io", "org/m", "v1", "https://ghcr.io"),
        ("oci://GHCR.io/m", "ghcr.io", "m", "latest", "https://ghcr.io"),
        (f"oci://r:5000/m:v@{digest_of(b'')}", "r:5000", "m", digest_of(b""), "https://r:5000"),
        ("oci://docker.io/org/m:v", "docker.io", "org/m", "v", "https://registry-1.docker.io"),
        ("oci://localhost:5000/m:v", "localhost:5000", "m", "v", "http://localhost:5000"),
        ("oci://[::1]:5000/m:v", "[::1]:5000", "m", "v", "http://[::1]:5000"),
        ("oci://127.evil.com/m:v", "127.evil.com", "m", "v", "https://127.evil.com"),
        ("oci://localhost.evil.com/m:v", "localhost.evil.com", "m", "v", "https://localhost.evil.com"),
    ],
)
def test_references_are_read(text: str, registry: str, repository: str, wanted: str, endpoint: str):
    """Only this machine is asked over HTTP."""
    found = OciReference.parse(text)
    assert (found.registry, found.repository, found.wanted, found.endpoint) == (registry, repository, wanted, endpoint)


NO_NAMES = ["", "r", "r/", "/m", "r/M", "r:x/m", "u:p@r/m", "r/../m", "r/m?x", "r" * 300 + "/m"]


@pytest.mark.parametrize("end", [*NO_NAMES, "r/m:", "r/m:a b", "r/m@sha256:1"])
def test_what_is_no_reference_is_refused(end: str):
    """Nothing of it reaches a URL."""
    with pytest.raises(SourceError, match="must be oci://REGISTRY/REPOSITORY:TAG"):
        OciReference.parse(f"oci://{end}")


@pytest.mark.parametrize(
    ("raw", "registry", "basic"),
    [
        ({"auths": {"https://ghcr.io/v2/": {"auth": "bWU6cGFzcw=="}}}, "ghcr.io", "Basic bWU6cGFzcw=="),
        ({"auths": {"ghcr.io": {"username": "me", "password": "pass"}}}, "ghcr.io", "Basic bWU6cGFzcw=="),
        ({"auths": {"https://index.docker.io/v1/": {"auth": "bWU6cGFzcw=="}}}, "docker.io", "Basic bWU6cGFzcw=="),
        ({"auths": {"ghcr.io": {"auth": "bWU6cGFzcw=="}}}, "evil.io", ""),
        ({"credsStore": "desktop", "auths": {"ghcr.io": {}}}, "ghcr.io", ""),
        ({}, "ghcr.io", ""),
    ],
)
def test_docker_s_own_configuration_says_who_we_are(raw: Any, registry: str, basic: str):
    """To each registry its own; helpers are not run."""
    credentials = Credentials.parse(json.dumps(raw).encode())
    assert credentials.basic(registry) == basic
    assert "bWU6" not in repr(credentials)


NO_ENTRIES: list[Any] = [1, {"auth": "pass"}, {"auth": 5}, {"identitytoken": "pass"}]


@pytest.mark.parametrize("raw", [[], "pass", {"auths": []}, *({"auths": {"r": entry}} for entry in NO_ENTRIES)])
def test_a_configuration_of_another_form_is_refused(raw: Any):
    """Nothing of it is repeated."""
    with pytest.raises(SourceError) as caught:
        Credentials.parse(json.dumps(raw).encode())
    assert "pass" not in str(caught.value).replace("password", "")


def challenge(header: str) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": header})

    return answer


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("", "give a docker config"),
        ("Negotiate", "give a docker config"),
        ("Bearer", "must say where tokens are given"),
        ('Bearer realm="file:///etc/passwd"', "must say where tokens are given"),
        ('Bearer realm="http://169.254.169.254/"', "must give its tokens itself"),
        ('Bearer realm="http://vault.team.svc.cluster.local/v1/secret"', "must give its tokens itself"),
    ],
)
async def test_strange_questions_of_who_we_are_are_refused(header: str, why: str):
    """A realm is an address, and not any address."""
    async with listening(challenge(header)) as url, AioWeb() as http:
        with pytest.raises(SourceError, match=why):
            await Models(web=http).read(OciReference.parse(f"oci://{url.removeprefix('http://')}/m:v"))


@pytest.mark.parametrize(
    ("realm", "registry", "is_one"),
    [
        ("auth.docker.io", "registry-1.docker.io", True),
        ("gitlab.com", "registry.gitlab.com:443", True),
        ("127.0.0.1:5001", "127.0.0.1:5000", True),
        ("registry.team.svc.cluster.local:5001", "registry.team.svc.cluster.local", True),
        ("vault.team.svc.cluster.local", "registry.team.svc.cluster.local", False),
        ("10.0.1.1", "10.1.1.1", False),
        ("vault", "registry", False),
        ("example.com", "evil.com", False),
    ],
)
def test_tokens_are_given_by_a_registry_or_its_domain(realm: str, registry: str, is_one: bool):
    """Its answer goes to the registry: it must not be another service's."""
    assert is_neighbour(realm, registry) is is_one
