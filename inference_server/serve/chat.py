"""POST /chat inside vLLM's own server: an ASGI layer that asks the OpenAI endpoint below it, in the same process.

No socket and no second process lies between: the layer calls the application with a translated request. Being
outermost, it leaves API keys, request ids and metrics to vLLM. It uses vLLM's documented `--middleware` and the OpenAI
wire format alone, none of vLLM's modules.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from attrs import define, frozen

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.serve import dialogs, sampling
from inference_server.serve.asgi import (
    Answer,
    Application,
    Message,
    Receive,
    Scope,
    Send,
    encode,
    path_of,
    refused,
    reply,
)

MAX_BODY_BYTES: Final = 1024 * 1024
OK: Final = 200
NOT_FOUND: Final = 404
BAD_REQUEST, NOT_ALLOWED, TOO_LARGE, NOT_JSON, UNPROCESSABLE, BAD_GATEWAY = 400, 405, 413, 415, 422, 502


@frozen
class _Stop(Exception):  # noqa: N818 (it carries the answer; it is no error)
    """Ends the handling of a request with this answer."""

    answer: Answer


@define
class ChatRoute:
    """The layer itself. vLLM makes one around its application, by the name given with `--middleware`."""

    app: Application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers /chat; everything else goes through untouched."""
        if scope["type"] != "http" or path_of(scope) != contract.CHAT_PATH or scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
            return
        try:
            answer = await self._answer(scope, receive)
        except _Stop as stop:
            answer = stop.answer
        await reply(answer, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            body = await _read_json(scope, receive)
            if dialogs.asks_for_them(body):
                return await self._answer_dialogs(dialogs.read(body), scope, receive)
            chat = sampling.read(body)
            count = await self._count_tokens(chat, scope, receive) if chat.needs_prompt_tokens else 0
            completion = chat.completion(count)
        except InputError as refusal:
            status = BAD_REQUEST if refusal.found == "nothing" or refusal.field == "body" else UNPROCESSABLE
            return refused(status, refusal)
        inner = await self._ask(contract.CHAT_COMPLETIONS_PATH, completion, scope, receive)
        text = _text(inner)
        result = chat.prompt + text if chat.return_full_text else text
        kept = tuple(header for header in inner.headers if header[0] == b"x-request-id")
        return Answer(status=OK, body=encode({"Result": result}), headers=kept)

    async def _answer_dialogs(self, wanted: dialogs.Dialogs, scope: Scope, receive: Receive) -> Answer:
        """All at once, as the engine batches them; the first that is refused is the answer."""
        path = contract.CHAT_COMPLETIONS_PATH
        async with asyncio.TaskGroup() as group:
            calls = [_call(self.app, path, encode(body), scope, receive) for body in wanted.completions()]
            tasks = [group.create_task(call) for call in calls]
        answers = [_explained(path, task.result()) for task in tasks]
        refusals = [answer for answer in answers if answer.status != OK]
        if refusals:
            return refusals[0]
        return Answer(status=OK, body=encode(wanted.results([_text(answer) for answer in answers])))

    async def _count_tokens(self, chat: sampling.Chat, scope: Scope, receive: Receive) -> int:
        inner = await self._ask(contract.TOKENIZE_PATH, {"messages": chat.messages}, scope, receive)
        count: int = json.loads(inner.body)["count"]
        return count

    async def _ask(self, path: str, body: dict[str, Any], scope: Scope, receive: Receive) -> Answer:
        """Calls the application below; whatever it refuses is the answer to the caller as it stands."""
        answer = _explained(path, await _call(self.app, path, encode(body), scope, receive))
        if answer.status != OK:
            raise _Stop(answer)
        return answer


def _explained(path: str, answer: Answer) -> Answer:
    """The answer, or the reason why there is no such path: vLLM leaves it out for a model that generates nothing."""
    if answer.status != NOT_FOUND or path != contract.CHAT_COMPLETIONS_PATH or b"error" in answer.body:
        return answer
    remedy = f"a model of embeddings answers {contract.EMBEDDINGS_PATH}"
    return refused(
        BAD_REQUEST,
        InputError(field="model", rule="one that generates text", found="one that does not", remedy=remedy),
    )


def _text(answer: Answer) -> str:
    text: str | None = json.loads(answer.body)["choices"][0]["message"]["content"]
    return text or ""


async def _read_json(scope: Scope, receive: Receive) -> Any:
    if scope["method"] != "POST":
        refusal = InputError(field="method", rule="POST", found=scope["method"])
        raise _Stop(refused(NOT_ALLOWED, refusal, headers=((b"allow", b"POST"),)))
    headers = dict(scope["headers"])
    kind = headers.get(b"content-type", b"").decode("latin-1")
    if kind.partition(";")[0].strip().lower() != "application/json":
        refusal = InputError(field="Content-Type", rule="application/json", found=kind or "none")
        raise _Stop(refused(NOT_JSON, refusal))
    raw = await _read(receive)
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors; json counts nesting by recursion.
        raise InputError(field="body", rule="JSON", found=str(error) or "too deep a nesting") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name}, which JSON does not have")


async def _read(receive: Receive) -> bytes:
    raw = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Stop(refused(BAD_REQUEST, InputError(field="body", rule="sent to its end", found="a lost client")))
        raw += bytes(message.get("body", b""))
        if len(raw) > MAX_BODY_BYTES:
            refusal = InputError(field="body", rule=f"at most {MAX_BODY_BYTES} bytes", found="more")
            raise _Stop(refused(TOO_LARGE, refusal))
        if not message.get("more_body", False):
            return raw


async def _call(app: Application, path: str, body: bytes, scope: Scope, receive: Receive) -> Answer:
    """One request to `app` under the caller's own headers; after the body the caller's disconnect still arrives."""
    root = scope.get("root_path") or ""
    dropped = (b"content-length", b"content-type", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name not in dropped]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    inner = {**scope, "path": root + path, "raw_path": (root + path).encode(), "query_string": b"", "headers": headers}
    if "state" in scope:
        # One caller may lead to two requests below, and neither is to see what the other noted.
        inner["state"] = dict(scope["state"])
    unread = [{"type": "http.request", "body": body, "more_body": False}]
    start: Message = {}
    chunks: list[bytes] = []

    async def receive_inner() -> Message:
        return unread.pop() if unread else await receive()

    async def send_inner(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    await app(inner, receive_inner, send_inner)
    if not start:
        return refused(BAD_GATEWAY, InputError(field=path, rule="answers", found="no answer"))
    return Answer(status=start["status"], body=b"".join(chunks), headers=tuple(start.get("headers", ())))
