"""Prediction and measurement of one GPU, beside each other, as a table and as a line of the data file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve
from measure_fit.comparison import Figures, Row, compare, table
from measure_fit.engine_log import EngineLog
from measure_fit.engine_run import Answer
from measure_fit.engine_words import asked_words, options_of
from measure_fit.gpu import Hardware, named_gpu
from measure_fit.measurement import measured
from measure_fit.model_config import MeasuredModel, read_model_config
from measure_fit.options import read_options
from measure_fit.prediction import Prediction, predict
from measure_fit.problem import MeasureProblem
from measure_fit.record import DATA, Record, append, refuse_unwritable

from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import EngineDevice
from kaito_controller.sizing.flags import read_flags
from kaito_controller.sizing.inference import InferencePlan, plan_inference
from kaito_controller.sizing.memory import GIB
from kaito_controller.testing.tiny_configs import CONFIGS

CATALOG = load()
CUDA, CPU = CATALOG.runtime("vllm-cuda"), CATALOG.runtime("vllm-cpu-host")
T4 = named_gpu("t4", CATALOG, 1)
FOUND = Figures(kv_space=10 * GIB, kv_blocks=163_840, kv_tokens=2_621_440, max_model_len=65_536, weights=0)


def tiny(folder: Path) -> MeasuredModel:
    (folder / "config.json").write_text(json.dumps(CONFIGS["grouped, five layers"]))
    return read_model_config(folder)


def words(*more: str, length: str = "auto") -> list[str]:
    return asked_words(CUDA, T4.sku, utilization=None, max_model_len=length, tensor=1, more=more)


def prediction(folder: Path, *more: str, length: str = "auto") -> Prediction:
    return predict(tiny(folder).preset, T4.sku, CUDA, read_flags(options_of(words(*more, length=length))))


@pytest.mark.parametrize("length", ["auto", "4096"])
def test_the_prediction_is_the_plan(tmp_path: Path, length: str):
    """Context, tokens and blocks of `plan_inference` for the same GPU."""
    asked = None if length == "auto" else int(length)
    plan = plan_inference(tiny(tmp_path).preset, T4.sku, runtime=CUDA, max_model_len=asked)
    assert isinstance(plan, InferencePlan)
    ours = prediction(tmp_path, length=length).figures
    assert (ours.max_model_len, ours.kv_tokens, ours.kv_blocks) == (plan.max_model_len, plan.kv_tokens, plan.kv_blocks)
    beside = sum(entry.bytes for entry in plan.ledger if entry.entry != "KV cache")
    assert (ours.weights or 0) + (ours.graphs or 0) + (ours.other or 0) == beside
    assert ours.kv_space == plan.available_bytes - beside


def test_flags_of_the_engine_reach_the_ledger(tmp_path: Path):
    assert (prediction(tmp_path).figures.graphs or 0) > 0
    eager = prediction(tmp_path, "--enforce-eager", "--gpu-memory-utilization=0.5")
    assert (eager.figures.graphs, eager.fit.share) == (0, 0.5)


def test_options_are_read_as_words_are_written():
    found = options_of(["--a-b", "1", "--c=2", "--d", "--e", "-1", "x", "--d"])
    assert found == {"a_b": "1", "c": "2", "d": "true", "e": "-1"}


def test_a_cpu_is_given_its_space_unless_one_is_asked_for():
    def space(*more: str) -> str:
        found = asked_words(CPU, T4.sku, utilization=None, max_model_len="auto", tensor=1, more=more)
        return options_of(found)["kv_cache_memory_bytes"]

    assert space() == str(GIB)
    assert space("--kv-cache-memory-bytes", "5") == "5"


@pytest.mark.parametrize("flag", ["--model=x", "--load_format", "--pipeline-parallel-size"])
def test_flags_that_are_the_tools_own_are_refused(flag: str):
    with pytest.raises(MeasureProblem, match="is not for this tool to change"):
        words(flag, "2")


def test_a_context_beyond_the_models_is_refused(tmp_path: Path):
    with pytest.raises(MeasureProblem, match="max-model-len must be 1 to 65536"):
        prediction(tmp_path, length="65537")


@pytest.mark.parametrize("deducted", [True, False])
def test_what_is_beside_weights_and_cache_follows_from_the_share(deducted: bool):
    """The estimate of CUDA graphs is a part of it only where the engine took it from the cache."""
    log = EngineLog(weights=4 * GIB, graphs=3 * GIB, graphs_estimate=2 * GIB, graphs_deducted=deducted, kv_space=1)
    found = measured(log, Answer(kv_space=7 * GIB, requested=16 * GIB, seen_memory=20 * GIB))
    assert (found.kv_space, found.seen_memory) == (7 * GIB, 20 * GIB)
    assert (found.graphs, found.other) == ((2 * GIB, 3 * GIB) if deducted else (3 * GIB, 5 * GIB))


def test_without_an_exact_answer_the_log_counts():
    log = EngineLog(kv_space=5, kv_blocks=6, kv_tokens=7, max_model_len=8)
    assert measured(log, Answer()) == Figures(kv_space=5, kv_blocks=6, kv_tokens=7, max_model_len=8)


def test_errors_are_of_what_was_measured():
    def error(predicted: int | None, found: int | None) -> float | None:
        return Row(name="", predicted=predicted, measured=found, is_bytes=False).error_percent

    assert (error(110, 100), error(0, 0), error(5, 0), error(None, 5)) == (pytest.approx(10), 0, None, None)
    rows = compare(Figures(weights=3 * GIB, kv_tokens=90), Figures(weights=4 * GIB, kv_tokens=90))
    lines = [line.split() for line in table("by the plan", rows).splitlines()[1:]]
    assert lines == [
        ["weights", "as", "loaded", "3.00", "GiB", "4.00", "GiB", "-25.0", "%"],
        ["KV", "tokens", "90", "90", "exact"],
    ]


def record(folder: Path, hardware: Hardware = T4) -> Record:
    return Record(
        date=datetime(2026, 1, 2, tzinfo=UTC),
        version="0.32.0",
        hardware=hardware,
        words=tuple(words()),
        model=tiny(folder),
        prediction=prediction(folder),
    )


def test_a_line_says_all_of_one_start(tmp_path: Path):
    line = evolve(record(tmp_path), measured=FOUND).line()
    assert (line["date"], line["vllm"]) == ("2026-01-02T00:00:00+00:00", "0.32.0")
    assert line["gpu"]["name"] == "NVIDIA T4"
    assert line["config"]["layers"] == 5
    assert len(line["config"]["sha256"]) == 64
    assert line["flags"] == words()
    assert line["measured"]["kvSpace"] == 10 * GIB
    assert line["predicted"]["fits"] is True
    ledger = line["predicted"]["ledger"]
    assert sum(ledger.values()) == sum(line["predicted"][name] for name in ("weights", "graphs", "other"))
    # Five layers of two KV heads of 32 numbers, keys and values, 2 bytes each, 16 tokens.
    assert line["predictedInEngineSpace"]["kvBlocks"] == 10 * GIB // (5 * 2 * 32 * 2 * 2 * 16)


def test_lines_are_added_also_of_what_ran_out_of_memory(tmp_path: Path):
    path = tmp_path / "fits.jsonl"
    append(path, evolve(record(tmp_path), measured=FOUND))
    append(path, evolve(record(tmp_path), failure="the GPU ran out of memory"))
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["failure"], second["failure"]) == (None, "the GPU ran out of memory")
    assert (second["measured"], second["predictedInEngineSpace"]) == (None, {})


def test_a_data_file_that_cannot_be_written_is_named_before_the_start(tmp_path: Path):
    refuse_unwritable(tmp_path / "new")
    for path in (tmp_path, tmp_path / "none" / "file"):
        with pytest.raises(MeasureProblem, match="name another with --data"):
            refuse_unwritable(path)


def test_figures_of_a_cpu_are_kept_only_where_asked():
    assert read_options(["--config", "x"]).data == DATA
    found = read_options(["--config", "x", "--device", "cpu", "--", "--max-num-seqs", "4"])
    assert (found.data, found.device, found.more) == (None, EngineDevice.CPU, ("--max-num-seqs", "4"))
    assert DATA.exists()


@pytest.mark.parametrize("words", [["--timeout", "nan"], ["--timeout", "0"], ["--tensor-parallel", "0"]])
def test_options_that_cannot_be_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        read_options(["--config", "x", *words])
    assert left.value.code == 2
    assert "found" in capsys.readouterr().err


def test_a_config_that_is_none_is_named(tmp_path: Path):
    with pytest.raises(MeasureProblem, match="cannot be read"):
        read_model_config(tmp_path)
    (tmp_path / "config.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(MeasureProblem, match="is larger than"):
        read_model_config(tmp_path)
