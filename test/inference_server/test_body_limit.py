from __future__ import annotations

from typing import Any

import pytest

from inference_server.serve.body_limit import BodyLimit

LIMIT = 10


async def ask(chunks: list[bytes], length: bytes | None, *, reads: bool = True) -> tuple[int, bytes]:
    """What a client gets, and what the application read."""
    sent: list[Any] = []
    read = b""
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    parts.append({"type": "http.request", "body": b"", "more_body": False})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal read
        while reads:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client is gone")
            read += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return parts.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if length is None else [(b"content-length", length)]
    await BodyLimit(app, LIMIT)({"type": "http", "method": "POST", "headers": headers}, receive, send)
    assert len([one for one in sent if one["type"] == "http.response.start"]) == 1
    return sent[0]["status"], read


async def test_a_body_up_to_the_limit_is_read():
    assert await ask([b"x" * LIMIT], b"10") == (200, b"x" * LIMIT)
    assert await ask([b"x" * 5, b"x" * 5], None) == (200, b"x" * LIMIT)


async def test_a_body_that_says_it_is_longer_is_not_read():
    assert await ask([b"x" * 11], b"11") == (413, b"")


@pytest.mark.parametrize("chunk", [1, 4, 100])
async def test_a_body_in_chunks_is_counted(chunk: int):
    """Nothing of it is told in front: it is cut where it is too long, and the answer is the same."""
    status, read = await ask([b"x" * chunk] * 100, None)
    assert status == 413
    assert len(read) <= LIMIT


async def test_a_length_that_is_no_number_is_counted():
    assert (await ask([b"x" * 100], b"many"))[0] == 413


async def test_an_application_that_fails_by_itself_still_fails():
    """Only the end that the layer caused is its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await BodyLimit(app, LIMIT)({"type": "http", "method": "POST", "headers": []}, None, None)  # type: ignore[arg-type]
