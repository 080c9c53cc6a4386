"""Pushing an adapter: to a real registry, with the Secret as the kubelet mounts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_server import contract
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from inference_server.refusal import InputError
from inference_server.tune import adapter, arguments, pushing
from inference_server.tune.arguments import Arguments
from kaito_controller.testing.ports import free_port
from kaito_controller.testing.threaded import InstantClock


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder as a tuning leaves it."""
    folder = tmp_path / "results"
    folder.mkdir()
    for name in (*adapter.FILES, contract.TUNING_REPORT_FILE_NAME):
        (folder / name).write_bytes(name.encode() * 100)
    return folder


def given(output: Path, image_name: str, secrets: Path | None = None) -> Arguments:
    words = ["run", "--model", "/m", "--model-name", "tiny-phi3", "--output", str(output), "--output-image", image_name]
    secret = ["--secrets", str(secrets), "--push-secret", "push"] if secrets else []
    return arguments.parse([*words, *secret])


def test_what_is_pushed_is_what_a_workspace_takes_as_an_adapter(registry, output, tmp_path):
    mounted = registry.mount(tmp_path / "secrets" / "push")
    words = given(output, f"{registry.host}/adapters/ten:1", tmp_path / "secrets")
    pushing.check(words)
    pushed = pushing.push(words)
    assert pushed.startswith(f"{registry.host}/adapters/ten:1@sha256:")
    credentials = Credentials.of_folders([mounted])
    pulled = image.pull(f"{registry.host}/adapters/ten:1", tmp_path / "pulled", credentials=credentials)
    assert set(pulled.files) == set(adapter.FILES)
    assert pulled.annotations[contract.ANNOTATION_MODEL_NAME] == "tiny-phi3"
    for name in adapter.FILES:
        assert (tmp_path / "pulled" / name).read_bytes() == (output / name).read_bytes()
    assert pushing.push(words) == pushed


def test_a_registry_that_lets_nobody_in_is_told_at_once(registry, output, tmp_path):
    mounted = registry.mount(tmp_path / "secrets" / "push")
    docker_config = mounted / contract.SECRET_DOCKER_CONFIG
    docker_config.write_text(json.dumps({"auths": {registry.host: {"auth": "YTpi"}}}))
    clock = InstantClock()
    with pytest.raises(InputError) as caught:
        pushing.push(given(output, f"{registry.host}/adapters/ten:1", tmp_path / "secrets"), clock)
    assert caught.value.exit_code == contract.EXIT_OUTPUT
    assert "output image" in str(caught.value)
    assert clock.waits == []


def test_a_registry_that_does_not_answer_is_asked_again_for_minutes(output):
    clock = InstantClock()
    with pytest.raises(InputError) as caught:
        pushing.push(given(output, f"127.0.0.1:{free_port()}/adapters/ten:1"), clock)
    assert caught.value.exit_code == contract.EXIT_OUTPUT
    assert [wait for wait in clock.waits if wait in pushing.WAITS_S] == list(pushing.WAITS_S)


@pytest.mark.parametrize("name", ["no reference", "example.com/UPPER:1"])
def test_a_mistaken_reference_is_told_before_training(output, name):
    with pytest.raises(InputError, match="no reference of an image"):
        pushing.check(given(output, name))


def test_a_secret_that_is_not_there_is_told_before_training(output, tmp_path):
    with pytest.raises(InputError) as caught:
        pushing.check(given(output, "127.0.0.1:5000/x:1", tmp_path))
    assert caught.value.exit_code == contract.EXIT_OUTPUT
