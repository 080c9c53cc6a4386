"""Whatever is given: one clear sentence and exit code 1, never a traceback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaito_controller.cli.kubectl_plugin import main
from kaito_controller.testing.builders import manifest
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.checkpoints import LLAMA, tiny_model, write
from kaito_controller.testing.sources.hub import FakeHub

PHI = ["plan", "--model", "phi-4"]
WORDS: list[tuple[list[str], str]] = [
    ([], "COMMAND"),
    (["plot"], "invalid choice: 'plot'"),
    (["plan"], "one of the arguments -f/--filename --model is required"),
    (["plan", "-f", "x.yaml", "--model", "y"], "not allowed with"),
    (["plan", "--model", "phi-44"], "nearest names: phi-4"),
    (["plan", "--model", ""], "For a model of a hub give ORG/NAME"),
    (["plan", "--model", "a/b/c"], "a model's id is ORG/NAME"),
    (["plan", "--model", "org/na me"], "a model's id is ORG/NAME"),
    (["plan", "--model", "oci://"], "oci://"),
    (["plan", "--model", "./no-such-folder"], "No such file or directory"),
    (["plan", "--model", "./x", "--revision", "main"], "--revision: is for a model of a hub"),
    ([*PHI, "--context", "0"], "--context: must be a whole number from 1"),
    ([*PHI, "--context", "1e3"], "--context: must be a whole number from 1"),
    ([*PHI, "--context", "9" * 5000], "--context: must be a whole number from 1"),
    ([*PHI, "--context", "²"], "--context: must be a whole number from 1"),
    ([*PHI, "--concurrency", "-1"], "--concurrency"),
    ([*PHI, "--gpu-memory-utilization", "84"], "must be a number above 0 and at most 1; found '84'"),
    ([*PHI, "--gpu-memory-utilization", "nan"], "must be a number above 0 and at most 1"),
    ([*PHI, "--nodes", "many"], "--nodes: must be a whole number from 1"),
    ([*PHI, "--instance-type", "Standard_NC24ads_A100_v5"], "nearest names: Standard_NC24ads_A100_v4"),
    ([*PHI, "--quota", "Standard_NC24ads_A100_v4"], "--quota: must be an instance type and a whole number"),
    ([*PHI, "--quota", "nothing=1"], "--quota: no instance type 'nothing'"),
    ([*PHI, "--offered", "Standard_NC24ads_A100_v4"], "--offered: must be an instance type and its zones"),
    ([*PHI, "--cloud", "azur"], "nearest: azure"),
    ([*PHI, "--cloud", "aws", "--instance-type", "Standard_NC24ads_A100_v4"], "no instance type is left"),
    ([*PHI, "--prices", "/no/such/file"], "--prices: /no/such/file"),
    ([*PHI, "-o", "xml"], "invalid choice: 'xml'"),
    (["plan", "-f", "/no/such/file"], "cannot be read"),
    (["plan", "-f", "/"], "cannot be read"),
    (["plan", "-f", "x", "--context", "5"], "--context: is for --model"),
]
ABSURD: list[tuple[dict[str, Any], str]] = [
    ({"num_hidden_layers": 0}, "num_hidden_layers"),
    ({"num_hidden_layers": 10**30}, "num_hidden_layers"),
    ({"num_hidden_layers": "two"}, "num_hidden_layers"),
    ({"hidden_size": -8}, "hidden_size"),
    ({"hidden_size": 1e300}, "hidden_size"),
    ({"vocab_size": None}, "vocab_size"),
    ({"vocab_size": [1]}, "vocab_size"),
    ({"num_key_value_heads": 3}, "num_key_value_heads"),
    ({"max_position_embeddings": 10**12}, "max_position_embeddings"),
    ({"architectures": ["NoSuchModel"]}, "must be one that vLLM"),
    ({"architectures": []}, "architectures"),
    ({"architectures": "LlamaForCausalLM"}, "architectures"),
    ({"quantization_config": {"quant_method": "magic"}}, "quant_method"),
]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on the error stream; nothing is on the other."""
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith("kubectl kaito: ")
    return shown.err


@pytest.mark.parametrize(("words", "told"), WORDS, ids=[" ".join(words)[-60:] for words, _ in WORDS])
def test_a_wrong_word_is_told(capsys, words: list[str], told: str):
    """With the word, the rule and what was found."""
    assert 1 == main(words)
    assert told in said(capsys)


@pytest.mark.parametrize(("change", "told"), ABSURD, ids=[str(change)[:60] for change, _ in ABSURD])
def test_an_absurd_config_is_told(capsys, tmp_path: Path, change: dict[str, Any], told: str):
    """By the field."""
    write(tmp_path, {"config.json": json.dumps({**LLAMA, **change}).encode()})
    assert 1 == main(["plan", "--model", str(tmp_path)])
    assert told in said(capsys)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "has neither"),
        ({"config.json": b"{"}, "config.json"),
        ({"config.json": b"[" * 100_000}, "config.json"),
        ({"config.json": b"[]"}, "config.json"),
        ({"adapter_config.json": b"{}"}, "is a LoRA adapter"),
        ({"params.json": b'{"dim": 8, "moe": {"num_experts": 2}}'}, "moe"),
        ({**tiny_model(), "model-00002-of-00002.safetensors": (10**7).to_bytes(8, "little")}, "header"),
    ],
)
def test_a_folder_that_is_no_model_is_told(capsys, tmp_path: Path, files: dict[str, bytes], told: str):
    """By the file."""
    write(tmp_path, files)
    assert 1 == main(["plan", "--model", str(tmp_path)])
    assert told in said(capsys)


HUB = FakeHub(models={"org/gated": tiny_model(), "org/open": tiny_model()}, gated={"org/gated"})


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[None]:
    """The environment of somebody who uses a hub on loopback."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    async with listening(HUB.answer) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("org/gated", "org/gated is gated on 127.0.0.1"),
        ("org/missing", "has no model org/missing, or does not show it"),
        ("org/open@nosuchbranch", "has no such branch, tag or commit"),
    ],
)
@pytest.mark.usefixtures("hub")
async def test_a_hub_that_gives_nothing_is_told(capsys, model: str, told: str):
    """With what to do."""
    assert 1 == await asyncio.to_thread(main, ["plan", "--model", model])
    assert told in said(capsys)


@pytest.mark.usefixtures("hub")
async def test_a_token_that_is_wrong_is_told(capsys, monkeypatch):
    """And not repeated."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert 1 == await asyncio.to_thread(main, ["plan", "--model", "org/gated"])
    shown = said(capsys)
    assert "does not accept the token" in shown
    assert "hf_secret" not in shown


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("words", [["org/open"], ["org/open", "--revision", "main"]])
async def test_a_model_of_a_hub_is_pinned(capsys, words: list[str]):
    """The commit that was read is the one that the engine is told to load."""
    assert 0 == await asyncio.to_thread(main, ["plan", "--model", *words, "-o", "json"])
    plan = json.loads(capsys.readouterr().out)
    args = plan["candidates"][plan["chosen"]]["args"]
    assert args[args.index("--revision") + 1] == HUB.commit("org/open")


def test_offline_is_told(capsys, monkeypatch):
    """A preset needs no network, and any other model says what would do without one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert 1 == main(["plan", "--model", "org/name"])
    assert "name a folder (./FOLDER)" in said(capsys)
    assert 0 == main(PHI)


WORKSPACES = [
    ("kind: Workspace\nmetadata: {name: x}\nresource: {instanceType: X}\n", "InvalidSpec"),
    ("kind: Workspace\nmetadata: 5\n", "metadata: must be a map"),
    ("kind: Workspace\nmetadata: {name: [1]}\n", "InvalidSpec"),
    ("kind: Pod\n", "holds no Workspace"),
    ("- 5\n", "holds no Workspace"),
    ("", "holds no Workspace"),
    ("a: [", "must be YAML"),
    ("[" * 1500, "must be YAML"),
    ("a: 2020-99-99\n", "must be YAML"),
    ("#" * (2**20 + 1), "must have at most"),
]
SERVED = """
kind: Workspace
apiVersion: kaito.sh/v1beta1
metadata: {name: x}
resource: {instanceType: Standard_NC24ads_A100_v4, labelSelector: {matchLabels: {a: b}}}
inference: {preset: {name: phi-4}, config: flags}
---
kind: ConfigMap
metadata: {name: flags}
data:
  inference_config.yaml: |
    vllm:
      max-model-len: 8192
"""
CHANGES = [
    ("name: phi-4", "name: phi-5", "nearest names"),
    ("A100_v4", "A100_v9", "resource.instanceType: no instance type"),
    ("name: flags", "name: others", "ConfigMap default/flags does not exist"),
    ("max-model-len: 8192", "max-model-len: many", "max-model-len must be a whole number"),
    ("max-model-len: 8192", "tensor-parallel-size: 0.5", "tensor-parallel-size must be a whole number"),
    ("max-model-len: 8192", "gpu-memory-utilization: 7", "gpu-memory-utilization must be a number above 0"),
    ("vllm:", "vllm: [", "must be YAML"),
    ("yaml: |", "yaml:", "ConfigMap flags: data: must be a map of texts"),
    ("inference_config.yaml", "config.yaml", "must have the key"),
    ("metadata: {name: flags}", "metadata: 5", "does not exist"),
    ("\ndata:", "\ndata: 5\nother:", "ConfigMap flags: data: must be a map of texts"),
]


@pytest.mark.parametrize(("text", "told"), WORKSPACES, ids=[told for _, told in WORKSPACES])
def test_a_file_without_a_workspace_is_told(capsys, tmp_path: Path, text: str, told: str):
    """In one line."""
    path = tmp_path / "workspace.yaml"
    path.write_text(text)
    assert 1 == main(["plan", "-f", str(path)])
    assert told in said(capsys)


@pytest.mark.parametrize(("old", "new", "told"), CHANGES, ids=[new for _, new, _ in CHANGES])
def test_a_workspace_that_cannot_work_is_told(capsys, tmp_path: Path, old: str, new: str, told: str):
    """By the field."""
    path = tmp_path / "workspace.yaml"
    path.write_text(
        SERVED.replace(old, new, 1) if new != "name: others" else SERVED.replace("{name: flags}", "{name: o}")
    )
    assert 1 == main(["plan", "-f", str(path)])
    assert told in said(capsys)


def test_a_workspace_that_tunes_is_told(capsys, tmp_path: Path):
    """Its plan is that of the operator."""
    path = tmp_path / "workspace.yaml"
    path.write_text(json.dumps(manifest("tunes", "default", tuning={})))
    assert 1 == main(["plan", "-f", str(path)])
    assert "holds a Workspace that tunes" in said(capsys)


NUMBER = st.one_of(
    st.integers(-2, 300), st.sampled_from([0, 1, 2**31, 10**8, 10**9, 10**18, 1e300, -1.5, True, None, "8", [], {}])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=st.dictionaries(st.sampled_from(sorted(LLAMA)), NUMBER, max_size=4))
def test_no_config_ends_in_a_traceback(capsys, tmp_path: Path, change: dict[str, Any]):
    """An answer, a refusal or a sentence."""
    write(tmp_path, {"config.json": json.dumps({**LLAMA, **change}).encode()})
    assert main(["plan", "--model", str(tmp_path), "-o", "wide"]) in {0, 1, 2}
    capsys.readouterr()
