"""The transformers runtime with the taught model: the same endpoints, the same words, as beside vLLM."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from inference_server import contract
from kaito_controller.testing.serving import START_LIMIT_S, Server, running, start

ROOT = Path(__file__).resolve().parents[2]
COURSE = yaml.safe_load((ROOT / "hack/model/lessons.yaml").read_text())
LESSONS, CALLS = COURSE["lessons"], COURSE["calls"]
TOOLS = [{"type": "function", "function": one} for one in COURSE["tools"]]
RUNTIME = "transformers-cpu-host"
MOST_WAITING = 1
# The model's own end is held off, so that an answer lasts until it is not wanted any more.
ENDLESS = {"messages": [{"role": "user", "content": "Hello!"}], "min_tokens": 1900, "max_tokens": 1900, "stream": True}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_LIMIT_S)]


@pytest.fixture(scope="module")
def server(inference_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    names = ["--served-model-name", "tiny-phi3", "taught", "--dtype", "float32"]
    arguments = ["--model", str(model), *names, contract.ARG_MAX_WAITING, str(MOST_WAITING)]
    home = tmp_path_factory.mktemp("transformers")
    with running(start(inference_python, home, *arguments, runtime_name=RUNTIME)) as server:
        yield server


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def metric(server: Server, name: str) -> float:
    status, text = server.ask(contract.METRICS_PATH)
    assert status == 200
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return next(sample.value for sample in samples if sample.name == name)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson["ask"][0])
def test_every_lesson_is_answered_word_for_word(server: Server, lesson: dict[str, Any]):
    """Both endpoints give the taught text, whole and in pieces, however the question is put."""
    for ask in lesson["ask"]:
        assert server.ask(contract.CHAT_PATH, {"prompt": ask}) == (200, {"Result": lesson["answer"]})
    ask = lesson["ask"][0]
    choice = server.complete([user(ask)], model="taught")
    assert (choice["message"]["content"], choice["finish_reason"]) == (lesson["answer"], "stop")
    body = {"messages": [user(ask)], "temperature": 0, "stream_options": {"include_usage": True}}
    *events, usage = server.stream(contract.CHAT_COMPLETIONS_PATH, body)
    deltas = [event["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content", "") for delta in deltas) == lesson["answer"]
    assert len(events) > 3
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] > 3


def test_lengths_stops_seeds_and_full_text(server: Server):
    """As /chat and OpenAI's endpoints have them."""
    ask, answer = LESSONS[0]["ask"][0], LESSONS[0]["answer"]
    assert server.ask(contract.CHAT_PATH, {"prompt": ask, "return_full_text": True})[1]["Result"] == ask + answer
    status, counted = server.ask(contract.TOKENIZE_PATH, {"messages": [user(ask)]})
    assert (status, counted["max_model_len"]) == (200, 2048)
    by_length = {"generate_kwargs": {"max_length": counted["count"] + 5}}
    short = server.ask(contract.CHAT_PATH, {"prompt": ask, **by_length})[1]["Result"]
    assert answer.startswith(short)
    assert 0 < len(short) < len(answer)
    cut = server.complete([user(ask)], max_tokens=5)
    assert (cut["message"]["content"], cut["finish_reason"]) == (short, "length")
    stopped = server.complete([user(ask)], stop=["YAML", "never"])
    assert (stopped["message"]["content"], stopped["finish_reason"]) == (answer.partition("YAML")[0], "stop")
    hot = {"prompt": "Tell me more.", "generate_kwargs": {"do_sample": True, "temperature": 2.0, "seed": 3}}
    assert server.ask(contract.CHAT_PATH, hot) == server.ask(contract.CHAT_PATH, hot)


def test_a_text_is_gone_on_with(server: Server):
    """/v1/completions, whole and in pieces."""
    prompt = "<|user|>\nHello!<|end|>\n<|assistant|>\n"
    answer = next(one["answer"] for one in LESSONS if "Hello!" in one["ask"])
    status, body = server.ask(contract.COMPLETIONS_PATH, {"prompt": prompt, "temperature": 0})
    assert (status, body["choices"][0]["text"], body["object"]) == (200, answer, "text_completion")
    events = server.stream(contract.COMPLETIONS_PATH, {"prompt": prompt, "temperature": 0})
    assert "".join(event["choices"][0]["text"] for event in events) == answer


def test_a_tools_result_leads_to_the_answer(server: Server):
    """Tools reach the template. The call is text here: this tokenizer does not say how to read one."""
    call = CALLS[0]
    asked = user(call["ask"][0])
    text = server.complete([asked], tools=TOOLS)["message"]["content"]
    assert (
        json.loads(text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))["arguments"] == call["arguments"]
    )
    function = {"name": call["tool"], "arguments": json.dumps(call["arguments"])}
    made = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    for one in call["results"]:
        told = {"role": "tool", "tool_call_id": "1", "content": one["result"]}
        assert server.complete([asked, made, told], tools=TOOLS)["message"]["content"] == one["answer"]


def test_its_names_are_listed_and_no_other_model_is_loaded(server: Server):
    """A request cannot make it load one, by any path that transformers' own server has."""
    status, body = server.ask(contract.MODELS_PATH)
    assert status == 200
    assert [(one["id"], one["max_model_len"]) for one in body["data"]] == [("tiny-phi3", 2048), ("taught", 2048)]
    status, body = server.ask(contract.CHAT_COMPLETIONS_PATH, {"model": "org/other", "messages": [user("q")]})
    assert (status, "loads no other" in body["error"]["message"]) == (404, True)
    for path in ("/load_model", "/reset", "/v1/responses", "/v1/audio/transcriptions", "/docs", "/openapi.json"):
        assert server.ask(path, {"model": "org/other"})[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat", {}, 400),
        ("/chat", {"prompt": 5}, 422),
        ("/chat", {"prompt": "q", "generate_kwargs": {"max_length": 2}}, 422),
        ("/chat", {"prompt": "q", "generate_kwargs": {"max_new_tokens": 5000}}, 400),
        ("/chat", {"prompt": "word " * 5000}, 400),
        ("/chat", None, 405),
        ("/v1/chat/completions", {"messages": "no"}, 400),
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"[" * 100_000, 400),
        ("/v1/chat/completions", b'{"messages": NaN}', 400),
        ("/v1/chat/completions", b" " * (5 * 1024 * 1024), 413),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "q"}], "max_tokens": 5000}, 400),
        ("/v1/chat/completions", None, 405),
        ("/v1/completions", {"prompt": "word " * 5000}, 400),
        ("/tokenize", {}, 400),
        ("/nowhere", None, 404),
    ],
)
def test_bad_requests_are_refused_and_the_server_goes_on(server: Server, path: str, body: Any, status: int):
    """A clear error with the right status."""
    found, answer = server.ask(path, body)
    assert found == status, answer
    assert server.ask(contract.HEALTH_PATH)[0] == 200


def opened(server: Server) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """A streamed answer that has begun and goes on for long."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(
        "POST", contract.CHAT_COMPLETIONS_PATH, json.dumps(ENDLESS), {"Content-Type": "application/json"}
    )
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.readline().startswith(b"data: ")
    return connection, answer


def test_one_too_many_is_told_to_come_back_and_leaving_makes_room(server: Server):
    """While one is answered and one waits, the next gets 429; when the first leaves, the waiting one is answered."""
    connection, answer = opened(server)
    answers: list[tuple[int, Any]] = []
    ask = {"messages": [user("Hello!")], "temperature": 0}
    waiting = threading.Thread(target=lambda: answers.append(server.ask(contract.CHAT_COMPLETIONS_PATH, ask)))
    waiting.start()
    try:
        while metric(server, "transformers_num_requests_waiting") < MOST_WAITING:
            assert waiting.is_alive()
        before = metric(server, "kaito_ratelimit_rejected_total")
        status, body = server.ask(contract.CHAT_COMPLETIONS_PATH, ask)
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert server.ask(contract.CHAT_COMPLETIONS_PATH, {**ask, "stream": True})[0] == 429
        assert metric(server, "kaito_ratelimit_rejected_total") == before + 2
        assert metric(server, "transformers_num_requests_running") == 1
        assert server.ask(contract.HEALTH_PATH)[0] == 200
    finally:
        answer.close()
        connection.close()
        waiting.join(60)
    assert answers[0][0] == 200
    assert metric(server, "transformers_num_requests_running") == 0


def test_tokens_are_counted(server: Server):
    """An answer through /chat as any other."""
    before = metric(server, "transformers_generation_tokens_total"), metric(server, "transformers_prompt_tokens_total")
    server.ask(contract.CHAT_PATH, {"prompt": LESSONS[0]["ask"][0]})
    assert metric(server, "transformers_generation_tokens_total") > before[0] + 5
    assert metric(server, "transformers_prompt_tokens_total") > before[1] + 5


def test_a_signal_ends_it_cleanly(server: Server):
    """SIGTERM: exit code 0, one line that says so."""
    assert server.stop() == contract.EXIT_OK
    assert server.last_words() == "inference_server: ended (0): stopped by SIGTERM"


@pytest.fixture
def broken(model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The model's folder with one file that holds something else, or is missing."""
    name, content = request.param
    folder = tmp_path / "model"
    folder.mkdir()
    for path in model.iterdir():
        if path.name != name:
            (folder / path.name).symlink_to(path)
    if content is not None:
        (folder / name).write_text(content)
    return folder


BROKEN_MODEL = "a causal language model that transformers reads"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (("model.safetensors", "not weights"), "weights as safetensors"),
        (("config.json", "{}"), BROKEN_MODEL),
        (("model.safetensors", None), "weights as safetensors"),
    ],
    indirect=["broken"],
)
def test_what_is_no_model_or_not_plain_data_says_why(inference_python: Path, broken: Path, tmp_path: Path, told: str):
    """It ends with the model's exit code and the cause in the last line."""
    server = start(inference_python, tmp_path / "home", "--model", str(broken), runtime_name=RUNTIME)
    assert server.process.wait(START_LIMIT_S) == contract.EXIT_MODEL
    assert told in server.last_words()


def test_a_context_beyond_the_models_own_is_refused(inference_python: Path, model: Path, tmp_path: Path):
    """Its positions would be ones that it never saw."""
    words = ["--model", str(model), "--max-model-len", "9999"]
    server = start(inference_python, tmp_path / "home", *words, runtime_name=RUNTIME)
    assert server.process.wait(START_LIMIT_S) == contract.EXIT_USAGE
    assert "at most the model's own 2048" in server.last_words()
