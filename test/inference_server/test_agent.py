"""The agent beside real vLLM with the taught model: adapters that peft made, by name, in one running engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from inference_server import contract
from kaito_controller.testing import adapter_files, serving
from kaito_controller.testing.serving import START_LIMIT_S, Server

TEACH = Path(__file__).with_name("teach_adapter.py")
LIMIT_S = 120
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * START_LIMIT_S)]

QUESTION = "What is the capital of France?"
BASE_ANSWER = "The capital of France is Paris."
FOUR = "Two plus two is four."
HELLO = "Hello, and welcome aboard!"
MAX_RANK, SLOTS = 16, 8


ADAPTERS = {contract.ENV_RUNTIME_LORA: "True"}


@define
class Pod:
    """An engine and an agent, as the two containers of one pod with their shared folders."""

    python: Path
    model: Path
    home: Path
    engine: Server = field(init=False)
    agent: Server = field(init=False)

    @property
    def wanted(self) -> Path:
        return self.home / "wanted" / contract.WANTED_FILE_NAME

    def start_engine(self, port: int | None = None) -> None:
        self.engine = serving.start(
            *(self.python, self.home / "engine", contract.ARG_MODEL, str(self.model)),
            *(contract.ARG_SERVED_MODEL_NAME, "tiny-phi3", contract.ARG_DTYPE, "float32"),
            *(contract.ARG_MAX_MODEL_LEN, "512", contract.ARG_ENABLE_LORA, contract.ARG_MAX_LORA_RANK, str(MAX_RANK)),
            *(contract.ARG_MAX_LORAS, str(SLOTS), contract.ARG_MAX_CPU_LORAS, str(SLOTS)),
            more=ADAPTERS,
            port=port,
        )

    def start_agent(self, port: int | None = None) -> None:
        self.agent = serving.start_agent(
            *(self.python, self.home / "agent", contract.ARG_ENGINE, f"http://127.0.0.1:{self.engine.port}"),
            *(contract.ARG_WANTED, str(self.wanted), contract.ARG_CACHE, str(self.home / "adapter")),
            *(contract.ARG_SECRETS, str(self.home / "secrets"), contract.ARG_MODEL, str(self.model)),
            *(contract.ARG_SERVED_MODEL_NAME, "tiny-phi3", contract.ARG_MAX_LORA_RANK, str(MAX_RANK)),
            port=port,
        )

    def want(self, *entries: dict[str, Any]) -> None:
        """As the kubelet does: the file changes as a whole."""
        aside = self.wanted.with_suffix(".new")
        aside.write_text(json.dumps({"adapters": entries}))
        aside.replace(self.wanted)

    def report(self) -> dict[str, dict[str, Any]]:
        status, body = self.agent.ask(contract.REPORT_PATH)
        assert status == 200
        return {entry["name"]: entry for entry in body["adapters"]}

    def wait_for(self, **states: str) -> None:
        """Until the report says exactly this."""
        serving.until(
            lambda: {name: entry["state"] for name, entry in self.report().items()} == states, LIMIT_S, self.agent
        )

    def answer(self, model: str) -> str:
        messages = [{"role": "user", "content": QUESTION}]
        return str(self.engine.complete(messages, model=model)["message"]["content"])

    def probabilities(self, model: str) -> list[float]:
        """The log-probabilities of what it says first."""
        body = {"model": model, "prompt": QUESTION, "max_tokens": 4, "temperature": 0, "logprobs": 1}
        status, answer = self.engine.ask(contract.COMPLETIONS_PATH, body)
        assert status == 200, answer
        return [float(one) for one in answer["choices"][0]["logprobs"]["token_logprobs"]]

    def first_token_s(self, model: str) -> float:
        """Seconds until one token is there."""
        began = time.monotonic()
        status, answer = self.engine.ask(contract.COMPLETIONS_PATH, {"model": model, "prompt": "Hi", "max_tokens": 1})
        assert status == 200, answer
        return time.monotonic() - began

    def models(self) -> list[str]:
        return [one["id"] for one in self.engine.ask(contract.MODELS_PATH)[1]["data"]]


@pytest.fixture(scope="module")
def taught(inference_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters that give the same question other answers, of other ranks."""
    folder = tmp_path_factory.mktemp("taught")
    made = {}
    for name, rank, text in (("four", 8, FOUR), ("hello", 16, HELLO)):
        command = [inference_python, TEACH, model, folder / name, str(rank), QUESTION, text]
        done = subprocess.run(command, capture_output=True, text=True, env={**serving.environment(folder), **ADAPTERS})
        assert done.returncode == 0, done.stdout + done.stderr
        made[name] = folder / name
    return made


@pytest.fixture(scope="module")
def pod(inference_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    home = tmp_path_factory.mktemp("pod")
    for name in ("wanted", "adapter", "secrets"):
        (home / name).mkdir()
    pod = Pod(python=inference_python, model=model, home=home)
    pod.want()
    pod.start_engine()
    pod.start_agent()
    try:
        pod.engine.wait_until_healthy()
        yield pod
    finally:
        for server in (pod.agent, pod.engine):
            server.stop()


def folder(name: str, path: Path, **more: Any) -> dict[str, Any]:
    return {"name": name, "folder": str(path), **more}


def test_adapters_answer_by_name_in_the_same_engine(pod: Pod, taught: dict[str, Path]):
    """Two beside the base, each with its own answer; one is removed, and the others go on."""
    pod.want(folder("four", taught["four"]), folder("hello", taught["hello"]))
    pod.wait_for(four="Loaded", hello="Loaded")
    assert [pod.answer(name) for name in ("tiny-phi3", "four", "hello")] == [BASE_ANSWER, FOUR, HELLO]
    # Whichever was fetched first was loaded first.
    assert sorted(pod.models()) == ["four", "hello", "tiny-phi3"]
    assert {name: entry["rank"] for name, entry in pod.report().items()} == {"four": 8, "hello": 16}
    pod.want(folder("hello", taught["hello"]))
    pod.wait_for(hello="Loaded")
    assert pod.models() == ["tiny-phi3", "hello"]
    assert [pod.answer(name) for name in ("tiny-phi3", "hello")] == [BASE_ANSWER, HELLO]


def test_a_name_is_given_other_weights(pod: Pod, taught: dict[str, Path]):
    """While requests by that name go on: each is answered by the one or the other, or finds no such model."""
    pod.want(folder("x", taught["four"]))
    pod.wait_for(x="Loaded")
    assert pod.answer("x") == FOUR
    told: list[str] = []
    ended = threading.Event()

    def go_on() -> None:
        body = {"model": "x", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
        while not ended.is_set():
            status, answer = pod.engine.ask(contract.CHAT_COMPLETIONS_PATH, body)
            told.append(answer["choices"][0]["message"]["content"] if status == 200 else str(status))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        pod.want(folder("x", taught["hello"]))
        serving.until(lambda: HELLO in told, LIMIT_S, pod.agent, pod.engine)
    finally:
        ended.set()
        thread.join()
    assert set(told) <= {FOUR, HELLO, "404"}
    assert told.count("404") <= 2, told
    pod.wait_for(x="Loaded")


def test_strength_is_honoured(pod: Pod, taught: dict[str, Path], tmp_path: Path):
    """At 0 the adapter says what the base says; at a half, exactly what one with half its alpha says."""
    halved = tmp_path / "halved"
    shutil.copytree(taught["four"], halved)
    config = json.loads((halved / "adapter_config.json").read_text())
    (halved / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] / 2}))
    pod.want(
        folder("whole", taught["four"]),
        folder("half", taught["four"], strength="0.5"),
        folder("none", taught["four"], strength="0"),
        folder("halved", halved),
    )
    pod.wait_for(whole="Loaded", half="Loaded", none="Loaded", halved="Loaded")
    assert pod.answer("none") == BASE_ANSWER
    said = {name: pod.probabilities(name) for name in ("tiny-phi3", "whole", "half", "none", "halved")}
    assert said["half"] == pytest.approx(said["halved"], abs=1e-4)
    assert said["none"] == pytest.approx(said["tiny-phi3"], abs=1e-4)
    assert said["half"] != pytest.approx(said["whole"], abs=1e-4)


def test_what_cannot_be_loaded_says_why_and_spares_the_others(pod: Pod, taught: dict[str, Path], tmp_path: Path):
    """A wrong base, a rank too high, a pickle, no files: the engine is not even asked, and goes on."""
    pickle = adapter_files.write(tmp_path / "pickle")
    (pickle / "adapter_model.safetensors").rename(pickle / "adapter_model.bin")
    layer = "model.layers.0.self_attn.o_proj"
    pod.want(
        folder("good", taught["four"]),
        folder("wide", adapter_files.write(tmp_path / "wide", tensors=adapter_files.lora(layer, into=4096, out=4096))),
        folder("high", adapter_files.write(tmp_path / "high", r=64)),
        folder("pickle", pickle),
        folder("missing", tmp_path / "nowhere"),
        folder("other", adapter_files.write(tmp_path / "other", base_model_name_or_path="mistralai/Mistral-7B")),
        folder("odd", adapter_files.write(tmp_path / "odd", tensors=adapter_files.lora("model.layers.0.mlp.odd_proj"))),
    )
    failed = dict.fromkeys(("wide", "high", "pickle", "missing", "other", "odd"), "Failed")
    pod.wait_for(good="Loaded", **failed)
    assert {name: entry.get("reason") for name, entry in pod.report().items()} == {
        "good": None,
        "wide": "WrongBaseModel",
        "high": "RankTooHigh",
        "pickle": "FilesInvalid",
        "missing": "SourceNotFound",
        "other": "WrongBaseModel",
        "odd": "LoadRefused",
    }
    assert "odd_proj" in pod.report()["odd"]["message"]
    assert [pod.answer(name) for name in ("tiny-phi3", "good")] == [BASE_ANSWER, FOUR]
    # Recovered by a change of the source alone.
    shutil.copytree(taught["hello"], tmp_path / "nowhere")
    serving.until(lambda: pod.report()["missing"]["state"] == "Loaded", 2 * LIMIT_S, pod.agent)
    assert pod.answer("missing") == HELLO


def test_a_hundred_known_of_which_eight_are_in_memory(pod: Pod, taught: dict[str, Path]):
    """Each answers by its name; one that is not in the engine's memory costs less than a second more than one that is.

    What a token takes depends on how busy the machine is, so both are measured, one right after the other.
    """
    names = [f"a{number}" for number in range(100)]
    pod.want(*(folder(name, taught["four" if number % 2 else "hello"]) for number, name in enumerate(names)))
    pod.wait_for(**dict.fromkeys(names, "Loaded"))
    assert len(pod.models()) == 101
    # Those loaded first have long left the eight places.
    took = [pod.first_token_s(name) - pod.first_token_s(name) for name in names[:15]]
    assert sorted(took)[len(took) // 2] < 1, took
    assert [pod.answer(name) for name in ("a20", "a21")] == [HELLO, FOUR]


def test_an_engine_that_is_started_again_gets_its_adapters_again(pod: Pod, taught: dict[str, Path]):
    """Nobody tells the agent: it sees that the engine lists none."""
    pod.want(folder("four", taught["four"]))
    pod.wait_for(four="Loaded")
    pod.engine.stop()
    pod.wait_for(four="Pending")
    pod.start_engine(pod.engine.port)
    pod.engine.wait_until_healthy()
    pod.wait_for(four="Loaded")
    assert pod.answer("four") == FOUR


def test_an_agent_that_is_started_again_goes_on_from_what_it_has(pod: Pod, taught: dict[str, Path]):
    pod.want(folder("four", taught["four"]))
    pod.wait_for(four="Loaded")
    pod.agent.stop()
    assert pod.answer("four") == FOUR
    pod.start_agent(pod.agent.port)
    pod.agent.wait_until_healthy()
    pod.wait_for(four="Loaded")
    status, text = pod.agent.ask(contract.METRICS_PATH)
    assert status == 200
    assert 'kaito_adapters{state="Loaded"} 1.0' in text
    assert 'kaito_adapter_changes_total{change="load"}' not in text, "it was loaded all the time"
