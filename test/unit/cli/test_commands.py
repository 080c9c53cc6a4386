"""What the two console scripts say and how they exit."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kaito_controller.cli import controller, kubectl_plugin

SAMPLES = Path(__file__).resolve().parents[3] / "config" / "samples"


def test_the_version_is_printed(capsys):
    """--version answers without a cluster."""
    assert 0 == controller.main(["--version"])
    assert capsys.readouterr().out.startswith("kaito-controller ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["walk"], 2, "unknown command 'walk'"),
        (["run", "--provider", "lokal"], 2, "did you mean 'local'?"),
        (["--feature-gates=vLLM=true", "--node-provisioner=azure-gpu-provisoner"], 2, "'azure-gpu-provisoner'"),
        (["run", "--kubeconfig", "/no/such/file"], 1, "kubeconfig /no/such/file: no such file"),
    ],
)
def test_a_start_that_fails_is_one_line(capsys, arguments, code, said):
    """Wrong flags exit 2 and a world that does not answer exits 1, each with one line that says why."""
    assert code == controller.main(arguments)
    shown = capsys.readouterr().err
    assert said in shown
    assert 1 == len([line for line in shown.splitlines() if line.startswith("kaito-controller: ")])


def test_a_server_that_does_not_answer_is_one_line(capsys, tmp_path):
    """A kubeconfig of a server that is not there is told with its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    config = tmp_path / "config"
    config.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
users: [{{name: u, user: {{}}}}]
"""
    )
    assert 1 == controller.main(["run", "--kubeconfig", str(config)])
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


def test_an_unknown_runtime_is_refused(capsys, tmp_path):
    """A runtime that the catalogue does not know is a wrong flag."""
    from kaito_controller.app.controllers import settings
    from kaito_controller.app.options import OptionsError, parse
    from kaito_controller.catalog import loader

    with pytest.raises(OptionsError, match="--inference-runtime: no runtime 'vllm-cud'"):
        settings(parse(["--inference-runtime", "vllm-cud"]), loader.load(), None)
    with pytest.raises(OptionsError, match="--runtime-parameter"):
        settings(parse(["--runtime-parameter", "imge=x"]), loader.load(), None)


def test_presets_and_skus_are_listed(capsys):
    """The catalogue can be read without a cluster."""
    assert 0 == kubectl_plugin.main(["presets"])
    assert "microsoft/Phi-4-mini-instruct" in capsys.readouterr().out
    assert 0 == kubectl_plugin.main(["skus"])
    assert "Standard_NC24ads_A100_v4" in capsys.readouterr().out


def test_a_plan_is_explained(capsys):
    """A Workspace in a file is planned and its memory explained."""
    assert 0 == kubectl_plugin.main(["plan", "-f", str(SAMPLES / "workspace_v1beta1_phi_4_mini.yaml")])
    shown = capsys.readouterr().out
    assert "1 x Standard_NC24ads_A100_v4" in shown
    assert "left for KV cache" in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Workspace\nmetadata: {name: x}\nresource: {instanceType: X}\n", "InvalidSpec"),
        ("kind: Pod\n", "holds no Workspace"),
        ("a: [", "must be YAML"),
        (None, "cannot be read"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(capsys, tmp_path, text, said):
    """What is wrong with the file is told in one line."""
    path = tmp_path / "workspace.yaml"
    if text is not None:
        path.write_text(text)
    assert 1 == kubectl_plugin.main(["plan", "-f", str(path)])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["models"], ["skus", "a100"], ["plan", "--model", "phi-4"]])
def test_what_needs_no_network_imports_no_client(words):
    """Those take longer to import than an answer takes."""
    program = (
        "import sys\n"
        "from kaito_controller.cli.kubectl_plugin import main\n"
        "try:\n"
        f"    code = main({words})\n"
        "except SystemExit as asked:\n"
        "    code = asked.code\n"
        "heavy = {'aiohttp', 'asyncio', 'kubernetes', 'kubernetes_asyncio', 'cattrs', 'structlog'} & set(sys.modules)\n"
        "sys.exit(code or ', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_has_enough_is_no_failure():
    """As `head` is."""
    program = (
        "import sys; from kaito_controller.cli.kubectl_plugin import main; sys.exit(main(['models', '-o', 'json']))"
    )
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"{sys.executable}" -c "{program}" | head -c 10'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_workspace_may_come_from_standard_input(capsys, monkeypatch):
    """As kubectl takes it."""
    text = (SAMPLES / "workspace_v1beta1_phi_4_mini.yaml").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert 0 == kubectl_plugin.main(["plan", "-f", "-"])
    assert "phi-4-mini-instruct" in capsys.readouterr().out
