"""Real tuning of the taught model on the CPU: what it learns, what it leaves behind, how it goes on and how it ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import evolve, field, frozen

from inference_server import contract
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials

ROOT = Path(__file__).resolve().parents[2]
PAIRS_FILE = ROOT / "hack/model/tuning.yaml"
PAIRS = yaml.safe_load(PAIRS_FILE.read_text(encoding="utf-8"))["pairs"]
SAMPLE = next(yaml.safe_load_all((ROOT / "config/samples/workspace_v1beta1_tuning_tiny_phi3.yaml").read_text()))
CONFIG = SAMPLE["data"][contract.TUNING_CONFIG_FILE_NAME]
# Alone on two cores a run takes about ten seconds, of which most are imports; on a busy machine a multiple.
LIMIT_S = 400
pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * LIMIT_S)]
# One thread: so small a model gains nothing from a second, and waits for it on a busy machine.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


@frozen(kw_only=True)
class Tuning:
    """One Workspace's tuning: where everything is, to be run as often as one likes."""

    python: Path
    folder: Path
    model: Path
    method: str = "lora"
    more: Sequence[str] = ()
    environment: Mapping[str, str] = field(factory=dict)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def output(self) -> Path:
        return self.folder / "results"

    @property
    def config_file(self) -> Path:
        return self.folder / contract.TUNING_CONFIG_FILE_NAME

    def write(self, rows: Any, config: str = CONFIG) -> None:
        """Lays out data and configuration; data that is bytes as it is, else as JSON lines."""
        self.data.mkdir(parents=True)
        raw = rows if isinstance(rows, bytes) else "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        (self.data / "pairs.jsonl").write_bytes(raw)
        self.config_file.write_text(config)

    def start(self, command: str = contract.TUNE_RUN, **options: Any) -> subprocess.Popen[str]:
        """Starts it as a pod does, in a process group of its own."""
        words = [contract.ARG_METHOD, self.method, contract.ARG_MODEL, str(self.model)]
        words += [contract.ARG_MODEL_NAME, "tiny-phi3", contract.ARG_DATA, str(self.data)]
        words += [contract.ARG_CONFIG_FILE, str(self.config_file), contract.ARG_OUTPUT, str(self.output)]
        words += [contract.ARG_HOST, "127.0.0.1", contract.ARG_PORT, "0", *self.more]
        return subprocess.Popen(
            [self.python, "-m", contract.TUNE_MODULE, command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**ENVIRONMENT, **self.environment},
            start_new_session=True,
            **options,
        )

    def run(self, command: str = contract.TUNE_RUN, **options: Any) -> Ended:
        """Runs it to its end."""
        return ended(self.start(command, **options))

    def report(self) -> dict[str, Any]:
        """The last report."""
        found = json.loads((self.output / contract.TUNING_REPORT_FILE_NAME).read_text())
        assert isinstance(found, dict)
        return found

    def adapter(self) -> bytes:
        return (self.output / "adapter_model.safetensors").read_bytes()


@frozen
class Ended:
    """How a run ended: exit code, the line that tells why, and everything it said."""

    code: int
    why: str
    log: str


def ended(process: subprocess.Popen[str], heard: str = "") -> Ended:
    """Waits for the end. The last line is the one that goes to the termination message as well."""
    try:
        rest, _ = process.communicate(timeout=LIMIT_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    log = heard + rest
    return Ended(process.returncode, log.strip().rpartition("\n")[2], log)


def heard_until(process: subprocess.Popen[str], word: str) -> str:
    """What it said up to the line that holds `word`."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return "".join(lines)
    process.wait()
    raise AssertionError("".join(lines))


def changed(**arguments: Any) -> str:
    """The sample's configuration with other training arguments."""
    document = yaml.safe_load(CONFIG)
    document["training_config"]["TrainingArguments"].update(arguments)
    return yaml.safe_dump(document)


@pytest.fixture(scope="module")
def tuned(inference_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tuning, Ended]:
    """The ten pairs, learnt with the sample's configuration."""
    tuning = Tuning(python=inference_python, folder=tmp_path_factory.mktemp("tuned"), model=model)
    tuning.write(PAIRS)
    return tuning, tuning.run()


@pytest.fixture
def tuning(inference_python: Path, model: Path, tmp_path: Path) -> Tuning:
    return Tuning(python=inference_python, folder=tmp_path, model=model)


def test_the_adapter_answers_every_new_question_word_for_word(tuned, inference_python, model):
    tuning, end = tuned
    assert end.code == contract.EXIT_OK, end.log
    asked = subprocess.run(
        [inference_python, ROOT / "test/inference_server/ask_adapter.py", model, tuning.output, PAIRS_FILE],
        check=True,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        timeout=LIMIT_S,
    )
    answers = json.loads(asked.stdout)
    assert [one["answer"] for one in answers] == [pair["completion"] for pair in PAIRS]
    # Rounding to 16 bits, as servers do, must not change a word.
    assert min(one["sure"] for one in answers) > 0.8


def test_a_base_model_of_a_private_registry_is_pulled_and_learns(tuning, model, registry, tmp_path):
    """By what fetches, into the folder that trains; and one that is not there ends it with the reason."""
    mounted = registry.mount(tmp_path / "secrets" / "models")
    reference = f"{registry.host}/models/tiny:1"
    names = sorted(path.name for path in model.iterdir())
    image.push(model, names, reference, credentials=Credentials.of_folders([mounted]), annotations={})
    away = evolve(tuning, model=tmp_path / "weights" / "base")
    away.write(PAIRS, changed(max_steps=2))
    secrets = (contract.ARG_SECRETS, str(mounted.parent), contract.ARG_PULL_SECRET, mounted.name)

    lacking = evolve(away, more=(*secrets, contract.ARG_WEIGHTS, f"oci://{registry.host}/models/none:1"))
    refused = lacking.run(contract.TUNE_FETCH)
    assert refused.code == contract.EXIT_MODEL, refused.log
    assert "models/none:1" in refused.why

    fetched = evolve(away, more=(*secrets, contract.ARG_WEIGHTS, f"oci://{reference}")).run(contract.TUNE_FETCH)
    assert fetched.code == contract.EXIT_OK, fetched.log
    trained = away.run()
    assert trained.code == contract.EXIT_OK, trained.log
    assert "trained 2 steps" in trained.why


def test_it_leaves_the_adapter_and_nothing_else(tuned):
    tuning, end = tuned
    assert {path.name for path in tuning.output.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        ".tuning.json",
        contract.TUNING_COMPLETED_FILE_NAME,
        contract.TUNING_REPORT_FILE_NAME,
    }
    config = json.loads((tuning.output / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny-phi3"
    assert (config["peft_type"], config["r"]) == ("LORA", 8)
    completed = (tuning.output / contract.TUNING_COMPLETED_FILE_NAME).read_text()
    assert completed.startswith("Fine-Tuning completed at ")
    report = tuning.report()
    assert report["state"] == "Succeeded"
    assert report["step"] == report["totalSteps"] == 80
    assert report["loss"] < 0.1
    assert report["tokens"] > 0
    assert report["output"] == str(tuning.output)
    assert end.why.startswith("inference_server: ended (0): trained 80 steps")
    assert "step 10 of 80, loss " in end.log


def test_a_run_that_was_stopped_and_killed_goes_on_and_ends_the_same(tuned, tuning):
    """The adapter of three tries is the very bytes of the one that was never disturbed; a fourth has nothing to do."""
    tuning.write(PAIRS)
    process = tuning.start()
    heard = heard_until(process, "step 10 of 80")
    process.send_signal(signal.SIGTERM)
    stopped = ended(process, heard)
    assert stopped.code == contract.EXIT_STOPPED, stopped.log
    assert "stopped by a signal at step 1" in stopped.why
    assert "the next try goes on from checkpoint-1" in stopped.why
    assert not (tuning.output / "adapter_model.safetensors").exists()

    process = tuning.start()
    heard = heard_until(process, "step 50 of 80")
    assert "going on from checkpoint-1" in heard
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)

    third = tuning.run()
    assert third.code == contract.EXIT_OK, third.log
    assert "going on from checkpoint-40" in third.log
    assert tuning.adapter() == tuned[0].adapter()
    assert not (tuning.output / ".checkpoints").exists()

    fourth = tuning.run()
    assert fourth.code == contract.EXIT_OK, fourth.log
    assert "an earlier try had trained already" in fourth.why
    assert tuning.adapter() == tuned[0].adapter()


def test_two_processes_train_one_adapter(tuning):
    """As two GPUs do, over gloo; here with conversations, of which the whole is learnt."""
    talks = [
        {"messages": [{"role": "user", "content": one["prompt"]}, {"role": "assistant", "content": one["completion"]}]}
        for one in PAIRS
    ]
    tuning.write(talks, changed(num_train_epochs=2, per_device_train_batch_size=1))
    end = evolve(tuning, more=[contract.ARG_PROCESSES, "2"]).run()
    assert end.code == contract.EXIT_OK, end.log
    # Ten rows twice, by two: five steps an epoch.
    assert end.why.startswith("inference_server: ended (0): trained 10 steps")
    assert end.log.count("step 10 of 10") == 1


def test_qlora_learns_where_bitsandbytes_runs_and_tells_how_it_does_on_rows_kept_apart(
    inference_python, model, tmp_path
):
    """With plain text; bitsandbytes has programs for the CPU."""
    tuning = Tuning(python=inference_python, folder=tmp_path, model=model, method="qlora")
    document = yaml.safe_load(changed(num_train_epochs=1))
    document["training_config"]["QuantizationConfig"] = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    document["training_config"]["DatasetConfig"] = {"train_test_split": 0.8}
    tuning.write([{"text": pair["completion"]} for pair in PAIRS], yaml.safe_dump(document))
    end = tuning.run()
    assert end.code == contract.EXIT_OK, end.log
    assert tuning.report()["evalLoss"] > 0
    assert tuning.adapter()


def test_qlora_is_refused_with_the_reason_where_bitsandbytes_does_not_run(inference_python, model, tmp_path):
    """Not real is bitsandbytes: its layers fail when they are made, as they do without their device's libraries."""
    broken = tmp_path / "broken" / "bitsandbytes"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("__version__ = '0.50.2'\nfrom bitsandbytes import nn\n")
    layer = "def __init__(self, *_, **__): raise RuntimeError('libcusparse.so.12 cannot be opened')"
    (broken / "nn.py").write_text(f"class Linear4bit:\n    {layer}\nclass Linear8bitLt:\n    {layer}\n")
    environment = {"PYTHONPATH": f"{broken.parent}:{ROOT}"}
    tuning = Tuning(
        python=inference_python, folder=tmp_path / "run", model=model, method="qlora", environment=environment
    )
    document = yaml.safe_load(CONFIG)
    document["training_config"]["QuantizationConfig"] = {"load_in_4bit": True}
    tuning.write(PAIRS, yaml.safe_dump(document))
    end = tuning.run()
    assert end.code == contract.EXIT_CONFIG, end.log
    assert "bitsandbytes can quantize" in end.why
    assert "libcusparse.so.12 cannot be opened; tune with the method lora" in end.why
    assert tuning.report() == {"state": "Failed", "message": end.why.partition("): ")[2]}


GOOD_LINE = json.dumps(PAIRS[0]).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "config", "code", "told"),
    [
        (GOOD_LINE + b'{"prompt": "a"\n', CONFIG, contract.EXIT_DATA, "pairs.jsonl:2: not JSON"),
        (b"\n", CONFIG, contract.EXIT_DATA, "at least one row, found none in pairs.jsonl"),
        ('{"text": "ü"}\n'.encode("latin-1"), CONFIG, contract.EXIT_DATA, "pairs.jsonl:1: not UTF-8"),
        (GOOD_LINE, changed(lerning_rate=1), contract.EXIT_CONFIG, "did you mean learning_rate"),
        (GOOD_LINE, changed(save_strategy="sometimes"), contract.EXIT_CONFIG, "values that fit together"),
        (GOOD_LINE, changed(learning_rate=1e30, max_grad_norm=1e30), contract.EXIT_CONFIG, "the training has diverged"),
        (GOOD_LINE, changed(max_length=4), contract.EXIT_DATA, "none of 1: the prompts alone are longer"),
    ],
    ids=["broken line", "empty", "encoding", "unknown key", "value", "diverged", "nothing left"],
)
def test_a_mistake_ends_the_run_and_says_why(tuning, data, config, code, told):
    tuning.write(data, config)
    end = tuning.run()
    assert end.code == code, end.log
    assert told in end.why
    assert f"inference_server: ended ({code}): " in end.why
    report = tuning.report()
    assert report["state"] == "Failed"
    assert told in report["message"]
    assert not (tuning.output / contract.TUNING_COMPLETED_FILE_NAME).exists()


def test_a_full_volume_ends_the_run_and_says_why(tuning):
    """The kernel refuses to write more than a file may have, which is how a volume that is full looks to a program."""
    tuning.write(PAIRS)

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    end = tuning.run(preexec_fn=small_files)
    assert end.code == contract.EXIT_OUTPUT, end.log
    assert "room for checkpoints and the adapter" in end.why
    assert "enlarge the volume" in end.why
    assert tuning.report()["state"] == "Failed"


def test_a_model_that_is_not_there_ends_the_run(inference_python, tmp_path):
    tuning = Tuning(python=inference_python, folder=tmp_path, model=tmp_path / "nothing")
    tuning.write(PAIRS)
    end = tuning.run()
    assert end.code == contract.EXIT_MODEL, end.log
    assert "mount the model there or name another" in tuning.report()["message"]


def test_fetch_refuses_before_training_and_accepts_what_can_be_learnt_from(tuning):
    tuning.write(GOOD_LINE + b'{"prompt": "a"}\n')
    end = tuning.run(contract.TUNE_FETCH)
    assert end.code == contract.EXIT_DATA, end.log
    assert "pairs.jsonl:2: the column 'completion' is missing" in end.why
    (tuning.data / "pairs.jsonl").unlink()
    make = (
        "import sys, yaml, pyarrow as pa, pyarrow.parquet as pq;"
        "rows = yaml.safe_load(open(sys.argv[1]))['pairs'];"
        "pq.write_table(pa.Table.from_pylist(rows), sys.argv[2])"
    )
    subprocess.run([tuning.python, "-c", make, PAIRS_FILE, tuning.data / "pairs.parquet"], check=True)
    end = tuning.run(contract.TUNE_FETCH)
    assert end.code == contract.EXIT_OK, end.log
    assert "10 rows of prompt and completion in pairs.parquet can be learnt from" in end.why
    raw = (tuning.data / "pairs.parquet").read_bytes()
    (tuning.data / "pairs.parquet").write_bytes(raw[: len(raw) // 2])
    end = tuning.run(contract.TUNE_FETCH)
    assert end.code == contract.EXIT_DATA, end.log
    assert "pairs.parquet: not Parquet" in end.why
