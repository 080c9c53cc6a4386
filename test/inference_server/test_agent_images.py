"""Adapters from a real registry with a password and a certificate of its own: what the agent brings and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_server.agent.base_model import BaseModel
from inference_server.agent.inspection import Checks
from inference_server.agent.preparation import Preparer
from inference_server.agent.refusal import AdapterRefusedError, Reason
from inference_server.agent.sources import FILES, ImageSource, Sources
from inference_server.agent.wanted import WantedAdapter
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from kaito_controller.testing import adapter_files
from kaito_controller.testing.registry import Registry


@pytest.fixture
def secrets(registry: Registry, tmp_path: Path) -> Path:
    registry.mount(tmp_path / "secrets" / "pull")
    return tmp_path / "secrets"


def preparer(cache: Path, secrets: Path) -> Preparer:
    checks = Checks(find_base=lambda: BaseModel(names=("tiny-phi3",)), max_rank=16)
    return Preparer(cache=cache, sources=Sources(image=ImageSource(secrets)), checks=checks)


def push(registry: Registry, secrets: Path, folder: Path, tag: str, model: str = "tiny-phi3") -> str:
    credentials = Credentials.of_folders([secrets / "pull"])
    notes = {"sh.kaito.model.name": model}
    return image.push(folder, FILES, f"{registry.host}/{tag}", credentials=credentials, annotations=notes)


def wanted(registry: Registry, tag: str, *pull_secrets: str, strength: str = "1") -> WantedAdapter:
    name = f"{registry.host}/{tag}"
    return WantedAdapter(name="a", image=name, pull_secrets=pull_secrets, strength=strength)


def refusal(made: Preparer, adapter: WantedAdapter) -> AdapterRefusedError:
    with pytest.raises(AdapterRefusedError) as caught:
        made.prepare(adapter, None)
    return caught.value


def test_an_image_is_fetched_checked_and_followed_by_its_tag(registry: Registry, secrets: Path, tmp_path: Path):
    """The digest is that of what was pushed; an unchanged tag is not fetched again, a moved one is."""
    made = preparer(tmp_path / "cache", secrets)
    digest = push(registry, secrets, adapter_files.write(tmp_path / "one"), "team/hat:1")
    adapter = wanted(registry, "team/hat:1", "pull", strength="0.5")
    first = made.prepare(adapter, None)
    assert (first.digest, first.rank) == (digest, 8)
    assert json.loads(Path(first.path, "adapter_config.json").read_text())["lora_alpha"] == 8.0
    assert made.prepare(adapter, first) is first
    moved = push(registry, secrets, adapter_files.write(tmp_path / "two", lora_alpha=4), "team/hat:1")
    second = made.prepare(adapter, first)
    assert second.digest == moved
    assert second.path != first.path
    assert Path(first.path).is_dir(), "the engine may still have it"
    assert set(made.paths()) == {first.path, second.path}


def test_a_locked_registry_opens_once_the_secret_is_there(registry: Registry, secrets: Path, tmp_path: Path):
    push(registry, secrets, adapter_files.write(tmp_path / "one"), "team/coat:1")
    made = preparer(tmp_path / "cache", secrets)
    found = refusal(made, wanted(registry, "team/coat:1"))
    assert found.reason in {Reason.FETCH_DENIED, Reason.FETCH_FAILED}
    assert made.prepare(wanted(registry, "team/coat:1", "pull"), None).rank == 8


def test_what_is_not_there_and_what_is_for_another_model(registry: Registry, secrets: Path, tmp_path: Path):
    made = preparer(tmp_path / "cache", secrets)
    assert refusal(made, wanted(registry, "team/none:1", "pull")).reason is Reason.SOURCE_NOT_FOUND
    assert refusal(made, wanted(registry, "not a reference", "pull")).reason is Reason.SPEC_INVALID
    digest = push(registry, secrets, adapter_files.write(tmp_path / "one"), "team/other:1", model="mistral-7b")
    found = refusal(made, wanted(registry, "team/other:1", "pull"))
    assert (found.reason, found.digest) == (Reason.WRONG_BASE_MODEL, digest)
    assert "sh.kaito.model.name says that it was made for mistral-7b" in str(found)
    assert not list(made.paths()), "nothing that was refused is kept"
