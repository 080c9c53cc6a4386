"""One model for a command line, as its user."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.once import docker_credentials, read_once
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.checkpoints import TINY_BYTES, tiny_model, write
from kaito_controller.testing.sources.hub import FakeHub
from kaito_controller.testing.sources.registry import FakeRegistry


async def test_a_folder_needs_neither_network_nor_environment(tmp_path: Path):
    """Offline is no hindrance."""
    folder = write(tmp_path, tiny_model())
    assert (await read_once(str(folder), {"HF_HUB_OFFLINE": "1"})).weight_bytes == TINY_BYTES


async def test_a_hub_is_asked_with_the_user_s_token(tmp_path: Path):
    """At the endpoint that the environment names."""
    hub = FakeHub(models={"org/name": tiny_model()}, gated={"org/name"})
    async with listening(hub.answer) as url:
        environment = {"HF_ENDPOINT": url, "HF_TOKEN": "hf_good", "HOME": str(tmp_path)}
        assert (await read_once("org/name", environment)).weight_bytes == TINY_BYTES


async def test_a_registry_is_asked_as_docker_login_left_it(tmp_path: Path):
    """From the file of DOCKER_CONFIG, or of the home."""
    registry = FakeRegistry(user="me:password")
    title = "org.opencontainers.image.title"
    layers = [registry.push_blob(content, "application/json", {title: name}) for name, content in tiny_model().items()]
    registry.push("v1", layers)
    async with listening(registry.answer) as url:
        host = url.removeprefix("http://")
        auths = {host: {"auth": base64.b64encode(b"me:password").decode()}}
        write(tmp_path, {".docker/config.json": json.dumps({"auths": auths}).encode()})
        for environment in ({"HOME": str(tmp_path)}, {"DOCKER_CONFIG": str(tmp_path / ".docker")}):
            assert (await read_once(f"oci://{host}/m:v1", environment)).weight_bytes == TINY_BYTES


async def test_who_wants_no_network_gets_none():
    """As the hub's own client does it."""
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set") as caught:
        await read_once("org/name", {"HF_HUB_OFFLINE": "1"})
    assert caught.value.trouble is Trouble.UNREACHABLE


def test_without_a_login_there_are_no_credentials(tmp_path: Path):
    """A file of another form is told."""
    assert docker_credentials({"HOME": str(tmp_path)}).basic("ghcr.io") == ""
    write(tmp_path, {".docker/config.json": b"x"})
    with pytest.raises(SourceError, match=r"\.docker/config\.json: must be the JSON that docker login writes"):
        docker_credentials({"HOME": str(tmp_path)})


def test_a_folder_is_read_without_importing_an_http_client(tmp_path: Path):
    """It takes longer to import than a plan takes."""
    folder = write(tmp_path, tiny_model())
    program = (
        "import asyncio, sys; from kaito_controller.sources.once import read_once; "
        f"asyncio.run(read_once({str(folder)!r}, {{}})); sys.exit('aiohttp' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
