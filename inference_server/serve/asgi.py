"""The few words of ASGI that the layers around vLLM's application share: types, the path, a whole answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from attrs import frozen

from inference_server.refusal import InputError, shown

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]


@frozen(kw_only=True)
class Answer:
    """A whole response."""

    status: int
    body: bytes
    headers: Headers = ()


def path_of(scope: Scope) -> str:
    """The path as the routes below know it: decoded, without the root path of a proxy that routes by paths."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path") or "")


async def reply(answer: Answer, send: Send) -> None:
    """Sends the answer, as JSON."""
    own = (b"content-type", b"content-length")
    headers = [(name, value) for name, value in answer.headers if name.lower() not in own]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def refused(status: int, refusal: InputError, headers: Headers = ()) -> Answer:
    """In the shape of vLLM's own errors, with the parts of the refusal beside."""
    body = {
        "error": {
            "message": str(refusal),
            "type": "invalid_request_error",
            "param": refusal.field,
            "code": status,
            "rule": refusal.rule,
            "found": refusal.found if isinstance(refusal.found, str) else shown(refusal.found),
        }
    }
    return Answer(status=status, body=encode(body), headers=headers)


def encode(value: Any) -> bytes:
    """The value as JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace")
