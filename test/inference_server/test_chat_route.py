from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field

from inference_server.serve import chat


@define
class OpenAI:
    """A small ASGI application that speaks the two endpoints /chat uses, and notes what it was asked."""

    tokens: int = 11
    answer: str = "an answer"
    status: int = 200
    asked: list[tuple[str, Any]] = field(factory=list)
    seen_states: list[dict[str, Any]] = field(factory=list)

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        message = await receive()
        assert message["type"] == "http.request"
        sent = json.loads(message["body"] or b"null")
        headers = dict(scope["headers"])
        assert headers.get(b"content-length", b"0") == str(len(message["body"])).encode()
        self.asked.append((scope["path"], sent))
        self.seen_states.append(dict(scope["state"]))
        scope["state"]["touched"] = True
        body: Any = {"error": {"message": "no"}}
        if self.status == 200:
            choice = {"message": {"content": self.answer}}
            body = {"count": self.tokens} if scope["path"].endswith("/tokenize") else {"choices": [choice]}
        raw = json.dumps(body).encode()
        found = [(b"content-type", b"application/json"), (b"x-request-id", headers.get(b"x-request-id", b"none"))]
        await send({"type": "http.response.start", "status": self.status, "headers": found})
        await send({"type": "http.response.body", "body": raw[:5], "more_body": True})
        await send({"type": "http.response.body", "body": raw[5:]})


async def ask(
    app: OpenAI,
    body: bytes | Any,
    *,
    path: str = "/chat",
    method: str = "POST",
    kind: bytes = b"application/json",
    root: str = "",
    cut: bool = False,
) -> tuple[int, Any, dict[bytes, bytes]]:
    """One request through the layer: status, decoded body, headers."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": raw[:3], "more_body": True},
        {"type": "http.disconnect"} if cut else {"type": "http.request", "body": raw[3:]},
    ]
    sent: list[Any] = []
    headers = [(b"content-type", kind), (b"content-length", str(len(raw)).encode()), (b"x-request-id", b"r1")]
    if path != "/chat":
        parts = [{"type": "http.request", "body": raw}]
    scope = {"type": "http", "method": method, "path": root + path, "root_path": root, "headers": headers, "state": {}}

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await chat.ChatRoute(app)(scope, receive, send)
    whole = b"".join(message.get("body", b"") for message in sent[1:])
    found = dict(sent[0]["headers"])
    assert found.get(b"content-length", str(len(whole)).encode()) == str(len(whole)).encode()
    return sent[0]["status"], json.loads(whole), found


async def test_the_answer_alone_is_the_result():
    """The prompt goes as one user message to the OpenAI endpoint below, and its text comes back as Result."""
    app = OpenAI()
    status, body, headers = await ask(app, {"prompt": "q?"})
    assert (status, body) == (200, {"Result": "an answer"})
    message = {"role": "user", "content": "q?"}
    assert app.asked == [("/v1/chat/completions", {"messages": [message], "stream": False, "temperature": 0})]
    assert headers[b"x-request-id"] == b"r1"


async def test_full_text_begins_with_the_prompt():
    """return_full_text true gives the prompt before the answer, as the historic server did by default."""
    assert (await ask(OpenAI(), {"prompt": "q?", "return_full_text": True}))[1] == {"Result": "q?an answer"}


async def test_an_empty_answer_is_an_empty_result():
    """A model that says nothing gives an empty string, never null."""
    assert (await ask(OpenAI(answer=""), {"prompt": "q"}))[1] == {"Result": ""}


async def test_max_length_counts_the_prompt_first():
    """The prompt's tokens are counted by the endpoint below; neither request sees the other's notes."""
    app = OpenAI(tokens=11)
    await ask(app, {"prompt": "q", "generate_kwargs": {"max_length": 20}})
    assert ["/tokenize", "/v1/chat/completions"] == [path for path, _ in app.asked]
    assert app.asked[1][1]["max_completion_tokens"] == 9
    assert app.seen_states == [{}, {}]
    assert (await ask(app, {"prompt": "q", "generate_kwargs": {"max_length": 11}}))[0] == 422


async def test_what_the_engine_refuses_is_handed_on():
    """Status and body of an error below reach the caller as they are."""
    assert (await ask(OpenAI(status=400), {"prompt": "q"}))[:2] == (400, {"error": {"message": "no"}})


async def test_other_paths_go_through():
    """Everything but /chat is not touched."""
    app = OpenAI()
    assert (await ask(app, {"a": 1}, path="/v1/completions"))[0] == 200
    assert app.asked == [("/v1/completions", {"a": 1})]


async def test_a_root_path_is_kept():
    """Behind a path-routing proxy the layer still finds its path and asks below the same root."""
    app = OpenAI()
    assert (await ask(app, {"prompt": "q"}, root="/llm"))[0] == 200
    assert app.asked[0][0] == "/llm/v1/chat/completions"


@pytest.mark.parametrize(
    ("body", "options", "status", "field"),
    [
        (b"{", {}, 400, "body"),
        (b"\xff{}", {}, 400, "body"),
        (b'{"prompt": NaN}', {}, 400, "body"),
        (b"[" * 100_000, {}, 400, "body"),
        ([], {}, 400, "body"),
        ({}, {}, 400, "prompt"),
        ({"prompt": 1}, {}, 422, "prompt"),
        ({"prompt": "q", "generate_kwargs": {"top_p": 2}}, {}, 422, "generate_kwargs.top_p"),
        (b"x" * (chat.MAX_BODY_BYTES + 1), {}, 413, "body"),
        ({"prompt": "q"}, {"kind": b"text/plain"}, 415, "Content-Type"),
        ({"prompt": "q"}, {"method": "GET"}, 405, "method"),
        ({"prompt": "q"}, {"cut": True}, 400, "body"),
    ],
)
async def test_a_bad_request_is_answered_in_parts(body: Any, options: dict[str, Any], status: int, field: str):
    """Every refusal has the shape of vLLM's errors and names field, rule and finding; the engine is not asked."""
    app = OpenAI()
    got, answer, _ = await ask(app, body, **options)
    assert (got, answer["error"]["param"], answer["error"]["code"]) == (status, field, status)
    assert answer["error"]["rule"]
    assert answer["error"]["found"]
    assert app.asked == []
