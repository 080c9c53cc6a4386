"""What `kubectl kaito plan` answers: receipts for people, JSON for machines, exit codes for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from kaito_controller.cli.known import known
from kaito_controller.cli.kubectl_plugin import main
from kaito_controller.testing.sources.checkpoints import tiny_model, write

DATA = Path(__file__).parent / "data"
SAMPLES = Path(__file__).resolve().parents[3] / "config" / "samples"
PRICES = """
source: https://prices.example.com
date: "2026-07-01"
currency: USD
prices:
  - {instance_type: Standard_NC24ads_A100_v4, per_hour: 4.00}
  - {instance_type: Standard_NC40ads_H100_v5, per_hour: 7.50}
  - {instance_type: Standard_NC24ads_A100_v4, per_hour: 1.00, spot: true}
  - {instance_type: Standard_NC40ads_H100_v5, per_hour: 0.50, spot: true}
"""
RECEIPTS = {
    "phi-4": ["--model", "phi-4", "--cloud", "azure", "--context", "16384", "--concurrency", "4"],
    "gpt-oss-120b": ["--model", "openai/gpt-oss-120b", "--cloud", "aws", "-o", "wide"],
    "falcon-7b-instruct": ["-f", str(SAMPLES / "workspace_v1alpha1_falcon_7b.yaml")],
}
CANDIDATE = {
    "instanceType", "nodes", "tensorParallel", "pipelineParallel", "dataParallel", "dtype", "maxModelLen", "kvTokens",
    "args", "ledger", "fits", "reason", "price",
}  # fmt: skip


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES)
    return str(path)


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict:
    """What a plan says as JSON."""
    assert code == main(["plan", *words, "-o", "json"])
    return json.loads(capsys.readouterr().out)


def best(plan: dict) -> dict:
    return plan["candidates"][plan["chosen"]]


@pytest.mark.parametrize("name", RECEIPTS)
def test_the_receipt_is_the_golden_one(capsys, regen: bool, name: str):
    """Byte for byte; `hack/test unit --regen` writes them anew."""
    assert 0 == main(["plan", *RECEIPTS[name]])
    shown = capsys.readouterr().out
    path = DATA / f"{name}.txt"
    if regen:
        path.write_text(shown)
    assert path.read_text() == shown


def test_no_line_of_a_receipt_is_wider_than_a_screen(capsys):
    """Neither the table nor the reasons."""
    main(["plan", "--model", "phi-4", "--context", "16384"])
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 120


def test_the_json_has_the_documented_shape(capsys):
    """Each candidate has the same fields, and the chosen one fits."""
    plan = answer(capsys, "--model", "phi-4", "--context", "8192")
    assert plan.keys() == {"model", "candidates", "chosen"}
    assert plan["model"] == "microsoft/phi-4"
    assert len(plan["candidates"]) == len(known().skus)
    for one in plan["candidates"]:
        assert one.keys() == CANDIDATE
        assert one["price"] is None
        assert one["fits"] == (not one["reason"]) == bool(one["args"]) == bool(one["ledger"])
    assert all(entry.keys() == {"entry", "bytes", "formula", "source"} for entry in best(plan)["ledger"])


def test_yaml_says_what_json_says(capsys):
    """With the same names."""
    words = ["--model", "phi-4", "--cloud", "azure"]
    plan = answer(capsys, *words)
    main(["plan", *words, "-o", "yaml"])
    assert YAML(typ="safe").load(capsys.readouterr().out) == plan


def test_a_context_that_is_asked_for_is_an_argument(capsys):
    """Whoever copies the arguments gets the context that was planned."""
    args = best(answer(capsys, "--model", "phi-4", "--context", "8192", "--gpu-memory-utilization", "0.9"))["args"]
    assert args[args.index("--max-model-len") + 1] == "8192"
    assert args[args.index("--gpu-memory-utilization") + 1] == "0.9"
    assert "--master-addr" not in args
    assert "--download-dir" not in args


def test_nothing_fits_is_an_answer_too(capsys):
    """Exit code 2, with every reason."""
    plan = answer(capsys, "--model", "phi-4", "--instance-type", "Standard_NC4as_T4_v3", "--nodes", "1", code=2)
    assert plan["chosen"] is None
    assert "needs" in plan["candidates"][0]["reason"]
    assert 2 == main(["plan", "--model", "phi-4", "--instance-type", "Standard_NC4as_T4_v3", "--nodes", "1"])
    shown = capsys.readouterr().out
    assert "Chosen       nothing" in shown
    assert "Do not fit" in shown


def test_more_nodes_make_room(capsys):
    """As many as are asked for."""
    plan = answer(capsys, "--model", "phi-4", "--instance-type", "standard_nc4as_t4_v3", "--nodes", "4")
    assert best(plan)["nodes"] == best(plan)["pipelineParallel"] == 4


def test_the_cheapest_wins_where_prices_are_known(capsys, prices: str):
    """Spot prices are others."""
    plan = answer(capsys, "--model", "phi-4", "--prices", prices)
    assert best(plan)["instanceType"] == "Standard_NC24ads_A100_v4"
    assert best(plan)["price"] == {
        "perHour": 4.0, "currency": "USD", "source": "https://prices.example.com", "date": "2026-07-01",
    }  # fmt: skip
    plan = answer(capsys, "--model", "phi-4", "--prices", prices, "--spot")
    assert best(plan)["instanceType"] == "Standard_NC40ads_H100_v5"
    main(["plan", "--model", "phi-4", "--prices", prices])
    shown = capsys.readouterr().out
    assert "4.00 USD an hour (https://prices.example.com, 2026-07-01)" in shown
    assert "3.50 USD an hour dearer" in shown
    assert "no price is known" in shown


def test_quota_and_zones_rule_out(capsys):
    """With the reason."""
    only = ["--model", "phi-4", "--instance-type", "Standard_NC24ads_A100_v4"]
    plan = answer(capsys, *only, "--quota", "standard_nc24ads_a100_v4=0", code=2)
    assert "the quota has room for 0" in plan["candidates"][0]["reason"]
    zones = ["--zone", "2", "--offered", "Standard_NC24ads_A100_v4=1,3"]
    assert "is offered in 1, 3" in answer(capsys, *only, *zones, code=2)["candidates"][0]["reason"]
    main(["plan", *only, "--zone", "2"])
    assert "--zone rules nothing out" in " ".join(capsys.readouterr().out.split())


def test_a_workspace_is_planned_on_its_own_instance_type(capsys):
    """With the arguments of its pods."""
    plan = answer(capsys, "-f", str(SAMPLES / "workspace_v1beta1_phi_4_mini.yaml"))
    assert [one["instanceType"] for one in plan["candidates"]] == ["Standard_NC24ads_A100_v4"]
    assert "--weights-agent" in best(plan)["args"]


def test_a_workspace_on_existing_nodes_may_be_anywhere(capsys):
    """Its ConfigMap says the context; what decides is told."""
    path = str(SAMPLES / "workspace_v1beta1_existing_nodes.yaml")
    plan = answer(capsys, "-f", path)
    assert {one["maxModelLen"] for one in plan["candidates"] if one["fits"]} == {8192}
    assert len(plan["candidates"]) == len(known().skus)
    assert 0 == main(["plan", "-f", path, "--instance-type", "Standard_NC24ads_A100_v4"])
    shown = capsys.readouterr().out
    assert "Standard_NC24ads_A100_v4" in shown
    assert "labels of its nodes decide" not in shown
    assert 0 == main(["plan", "-f", path])
    assert "labels of its nodes decide" in capsys.readouterr().out


def test_a_slice_of_a_gpu_is_a_gpu_of_its_own(capsys, tmp_path: Path):
    """Only instance types whose GPUs can be cut so are looked at."""
    text = (SAMPLES / "workspace_v1beta1_existing_nodes.yaml").read_text().replace("llama-3.1-8b-instruct", "phi-2")
    text = text.replace("resource:\n", "resource:\n  partition: {mode: mig, profile: 3g.40gb}\n")
    path = tmp_path / "workspace.yaml"
    path.write_text(text.replace("max-model-len: 8192", "max-model-len: 2048"))
    plan = answer(capsys, "-f", str(path))
    assert 0 < len(plan["candidates"]) < len(known().skus)
    assert best(plan)["tensorParallel"] == 1


def test_a_folder_is_planned_by_its_own_files(capsys, tmp_path: Path):
    """Without a network."""
    folder = write(tmp_path, tiny_model())
    plan = answer(capsys, "--model", str(folder))
    assert plan["model"] == str(folder)
    weights = next(entry for entry in best(plan)["ledger"] if entry["entry"] == "weights")
    assert weights["source"] == "tensors of the checkpoint"
    assert best(plan)["maxModelLen"] == 128


def test_a_folder_without_weights_is_told_apart(capsys, tmp_path: Path):
    """Its sizes are counted, and that is said; in JSON on the other stream."""
    write(tmp_path, {"config.json": tiny_model()["config.json"]})
    assert 0 == main(["plan", "--model", str(tmp_path)])
    assert "no weight files" in capsys.readouterr().out
    assert 0 == main(["plan", "--model", str(tmp_path), "-o", "json"])
    assert "kubectl kaito: note: it has no weight files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--context", "20000"], "--context must be 1 to 16384, the longest context of phi-4"),
        (["--nodes", "41"], "--nodes is 41, and phi-4 has 40 layers"),
    ],
)
def test_a_refusal_names_what_was_written(capsys, words: list[str], told: str):
    """And not the field of a Workspace."""
    assert 2 == main(["plan", "--model", "phi-4", *words])
    assert told in " ".join(capsys.readouterr().out.split())


def test_adapters_of_a_workspace_are_counted(capsys):
    """As the operator counts them: the slots that the engine makes for them, and is told of."""
    counted = {}
    for name in ("phi_4_mini", "adapters"):
        found = best(answer(capsys, "-f", str(SAMPLES / f"workspace_v1beta1_{name}.yaml")))
        counted[name] = ("LoRA adapters" in json.dumps(found), "--enable-lora" in found["args"])
    assert counted == {"phi_4_mini": (False, False), "adapters": (True, True)}
