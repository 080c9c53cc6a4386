"""A hub's models: what is asked for one, and what is told when there is none to be had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.http import AioWeb
from kaito_controller.sources.hub import ENDPOINT, HubId, HubSettings
from kaito_controller.sources.model_files import ModelFiles
from kaito_controller.sources.reference import Models, parse_reference
from kaito_controller.sources.token import Token
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.checkpoints import TINY_BYTES, packed, safetensors, tiny_model
from kaito_controller.testing.sources.hub import FakeHub
from kaito_controller.testing.sources.parts import part_of

NAME = "org/name"
GOOD = Token("hf_good")


@asynccontextmanager
async def reading(hub: FakeHub, token: Token | None = None) -> AsyncIterator[Callable[[str], Any]]:
    """Reads models of a hub that is served meanwhile."""
    async with listening(hub.answer) as url, AioWeb() as http:
        models = Models(web=http, hub=HubSettings(endpoint=url, token=token))

        async def read(text: str) -> ModelFiles:
            return await models.read(parse_reference(text))

        yield read


async def refusal(hub: FakeHub, text: str = NAME, token: Token | None = None) -> SourceError:
    async with reading(hub, token) as read:
        with pytest.raises(SourceError) as caught:
            await read(text)
    assert "hf_" not in str(caught.value)
    return caught.value


def hub_of(files: dict[str, bytes] | None = None, **options: Any) -> FakeHub:
    return FakeHub(models={NAME: tiny_model() if files is None else files}, **options)


async def test_a_model_is_read_at_the_commit_that_main_is_at():
    """Headers come in parts, everything at one commit, and the files that do not count are not asked for."""
    hub = hub_of()
    async with reading(hub) as read:
        model = await read(NAME)
    assert (model.model_id, model.revision, model.weight_bytes) == (NAME, hub.commit(NAME), TINY_BYTES)
    assert model.config["hidden_size"] == 8
    assert model.generation_config == {"eos_token_id": 2}
    paths = [path for path, _, _ in hub.asked]
    assert paths[:2] == [f"/api/models/{NAME}/revision/main", f"/api/models/{NAME}/tree/{model.revision}"]
    assert all(path.startswith(f"/{NAME}/resolve/{model.revision}/") for path in paths[2:])
    assert not [path for path in paths if "original" in path or "README" in path]
    assert all(span for path, _, span in hub.asked if path.endswith(".safetensors"))


async def test_a_pinned_commit_is_not_looked_up_again():
    """Nothing can have changed."""
    hub = hub_of()
    async with reading(hub) as read:
        assert (await read(f"{NAME}@{hub.commit(NAME)}")).weight_bytes == TINY_BYTES
    assert not [path for path, _, _ in hub.asked if "/revision/" in path]


async def test_a_header_longer_than_the_first_part_takes_a_second():
    """And no byte of data."""
    shapes = {f"model.layers.{layer}.{'x' * 100}.weight": ("U8", (1,)) for layer in range(1000)}
    hub = hub_of({"config.json": b"{}", "model.safetensors": safetensors(shapes) + b""})
    async with reading(hub) as read:
        assert (await read(NAME)).weight_bytes == 1000
    spans = [span for path, _, span in hub.asked if path.endswith("model.safetensors")]
    assert spans[0] == "bytes=0-131071"
    assert spans[1].startswith("bytes=131072-")


async def test_weights_may_lie_at_another_host_which_gets_no_token():
    """As the hub's own storage does; the address it signed arrives as it was signed."""
    asked: list[tuple[str, str]] = []
    files = tiny_model()

    async def storage(request: web.Request) -> web.StreamResponse:
        asked.append((request.raw_path, request.headers.get("Authorization", "")))
        return part_of(request, files[request.path.rsplit("/", 1)[1]])

    async with listening(storage) as url, reading(hub_of(files, storage=url), GOOD) as read:
        assert (await read(NAME)).weight_bytes == TINY_BYTES
    assert len(asked) == 2
    assert all(path.endswith("?signature=a%2Fb") and not authorization for path, authorization in asked)


async def test_a_list_of_files_may_have_pages():
    """All of them are read."""
    hub = hub_of(page=2)
    async with reading(hub) as read:
        assert (await read(NAME)).weight_bytes == TINY_BYTES
    assert len([path for path, _, _ in hub.asked if "/tree/" in path]) == 4


async def test_a_list_may_not_lead_to_another_host():
    """It would be asked with the token."""
    hub = hub_of()
    link = {"Link": '<http://elsewhere.example/api?cursor=1>; rel="next"'}
    hub.overrides[f"/api/models/{NAME}/tree/{hub.commit(NAME)}"] = web.json_response([], headers=link)
    assert "the list of files must go on at 127.0.0.1" in str(await refusal(hub, token=GOOD))


async def test_a_gated_model_says_how_to_get_in():
    """Without a token; with one it is read."""
    error = await refusal(hub_of(gated={NAME}))
    assert error.trouble is Trouble.DENIED
    assert f"{NAME} is gated" in str(error)
    assert "accept its licence" in str(error)
    assert "presetOptions.modelAccessSecret" in str(error)
    async with reading(hub_of(gated={NAME}), GOOD) as read:
        assert (await read(NAME)).weight_bytes == TINY_BYTES


@pytest.mark.parametrize(
    ("text", "token", "trouble", "why"),
    [
        ("org/absent", None, Trouble.MISSING, "has no model org/absent, or does not show it: check the name, or give"),
        ("org/absent", GOOD, Trouble.MISSING, "has no model org/absent, or does not show it: check the name"),
        (f"{NAME}@v9", None, Trouble.MISSING, "has no such branch, tag or commit"),
        (f"{NAME}@{'0' * 40}", None, Trouble.MISSING, "has no such branch, tag or commit"),
        (NAME, Token("hf_bad"), Trouble.DENIED, "does not accept the token (401)"),
    ],
)
async def test_what_is_not_there_or_not_for_us_is_told(text: str, token: Token | None, trouble: Trouble, why: str):
    """By what would help."""
    error = await refusal(hub_of(), text, token)
    assert error.trouble is trouble
    assert why in str(error)


@pytest.mark.parametrize(
    ("answer", "trouble", "why"),
    [
        (web.Response(status=403), Trouble.DENIED, "does not show org/name (403): give a token"),
        (web.Response(status=403, headers={"X-Error-Code": "DisabledRepo"}), Trouble.DENIED, "has disabled org/name"),
        (web.Response(status=429, headers={"Retry-After": "9"}), Trouble.BUSY, "it is asked again in 9 s"),
        (web.Response(status=502), Trouble.BUSY, "failed (502): it is asked again later"),
        (web.Response(status=418), Trouble.MALFORMED, "must answer as a hub does; it answers 418"),
        (web.Response(text="<html>"), Trouble.MALFORMED, "must be JSON"),
        (web.json_response({"sha": "../../x"}), Trouble.MALFORMED, "must name the commit of a revision"),
    ],
)
async def test_answers_of_other_servers_are_told(answer: web.Response, trouble: Trouble, why: str):
    """A proxy's, or what is no hub at all."""
    error = await refusal(hub_of(overrides={f"/api/models/{NAME}/revision/main": answer}))
    assert error.trouble is trouble
    assert why in str(error)


@pytest.mark.parametrize(
    "entries",
    [
        {"error": "x"},
        [{"type": "file"}],
        [{"type": "file", "path": "a", "size": -1}],
        [{"type": "file", "path": 1, "size": 1}],
    ],
)
async def test_a_list_of_files_of_another_form_is_refused(entries: Any):
    """Each file has a path and a size."""
    hub = hub_of()
    hub.overrides[f"/api/models/{NAME}/tree/{hub.commit(NAME)}"] = web.json_response(entries)
    assert (await refusal(hub)).trouble is Trouble.MALFORMED


async def test_a_config_of_two_gigabytes_is_not_even_asked_for():
    """The list of files says so; if it lies, the answer's own length does."""
    hub = hub_of(sizes={"config.json": 2 * 2**30})
    assert (await refusal(hub)).trouble is Trouble.TOO_LARGE
    assert not [path for path, _, _ in hub.asked if path.endswith("config.json")]
    hub = hub_of(tiny_model() | {"config.json": b" " * (2**20 + 1)}, sizes={"config.json": 10})
    error = await refusal(hub)
    assert error.trouble is Trouble.TOO_LARGE
    assert "so it is not read" in str(error)


@pytest.mark.parametrize(
    ("shard", "size", "why"),
    [
        (packed(b"{}", 0), 10**6, "it describes 0 bytes of 999990"),
        ((2**40).to_bytes(8, "little"), None, "this is no safetensors file"),
        (b"", 100, "the file must be as long as the list of files says"),
        (b"<html>", None, "starts with 8 bytes of length; found 6 bytes"),
    ],
)
async def test_shards_that_lie_are_refused(shard: bytes, size: int | None, why: str):
    """In their headers, or in the list."""
    files = {"config.json": b"{}", "model.safetensors": shard}
    hub = hub_of(files, sizes={} if size is None else {"model.safetensors": size})
    error = await refusal(hub)
    assert error.trouble is Trouble.MALFORMED
    assert why in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "a/b/c",
        "",
        "/",
        "org/",
        "a..b/c",
        "a--b/c",
        "org/na me",
        "org/name@",
        "org/name@../x",
        "org/-x",
        "órg/x",
        "o/n?x=1",
    ],
)
def test_what_is_no_id_is_refused(text: str):
    """Nothing of it reaches a URL."""
    with pytest.raises(SourceError):
        HubId.parse(text)


def test_ids_and_revisions_are_read():
    """A branch may have a slash."""
    assert HubId.parse("Qwen/Qwen3-0.6B") == HubId(name="Qwen/Qwen3-0.6B", revision="main")
    assert str(HubId.parse("a/b@refs/pr/1")) == "a/b@refs/pr/1"


async def test_a_revision_with_a_slash_is_one_part_of_the_path():
    """As the hub's own client writes it."""
    hub = hub_of()
    await refusal(hub, f"{NAME}@refs/pr/1")
    assert hub.asked[0][0] == f"/api/models/{NAME}/revision/refs%2Fpr%2F1"


def test_the_environment_names_hub_and_token():
    """As for the hub's own client; the token is shown nowhere."""
    settings = HubSettings.from_environment({"HF_ENDPOINT": "http://mirror.example/hf/", "HF_TOKEN": "hf_x\n"})
    assert settings == HubSettings(endpoint="http://mirror.example/hf", token=Token("hf_x"))
    assert "hf_x" not in f"{settings} {settings!r} {settings.token} {settings.token!r}"
    assert HubSettings.from_environment({"HF_TOKEN": " "}) == HubSettings(endpoint=ENDPOINT, token=None)


@pytest.mark.parametrize(
    "environment",
    [
        {"HF_ENDPOINT": "mirror"},
        {"HF_ENDPOINT": "https://me:Evil@mirror.example"},
        {"HF_TOKEN": "a b"},
        {"HF_TOKEN": "a\r\nX-Evil: 1"},
    ],
)
def test_an_environment_that_cannot_be_used_is_told(environment: dict[str, str]):
    """Without repeating what may be a secret."""
    with pytest.raises(SourceError) as caught:
        HubSettings.from_environment(environment)
    assert str(caught.value).startswith(next(iter(environment)))
    assert "Evil" not in str(caught.value)


async def test_a_token_is_not_sent_over_an_open_line():
    """A mirror over HTTP gets none; without one it is asked."""
    async with AioWeb(timeout_s=0.05, proxy=lambda _: None) as http:
        models = Models(web=http, hub=HubSettings(endpoint="http://mirror.invalid", token=GOOD))
        with pytest.raises(SourceError, match="a token is sent over HTTPS only"):
            await models.read(HubId(name=NAME))
