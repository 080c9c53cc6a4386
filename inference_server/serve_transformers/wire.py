"""The answers of OpenAI's endpoints, whole and as server-sent events. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from inference_server.serve_transformers.generation import Piece


@frozen(kw_only=True)
class Form:
    """How an endpoint writes its answers: whether as a conversation, under which id and name, since when."""

    is_chat: bool
    id: str
    model: str
    created: int

    def whole(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """The answer that the pieces add up to."""
        text = "".join(piece.text for piece in pieces)
        choice: dict[str, Any] = {"index": 0, "finish_reason": pieces[-1].finish_reason, "logprobs": None}
        if self.is_chat:
            calls = [call for piece in pieces for call in piece.calls]
            reasoning = "".join(piece.reasoning for piece in pieces)
            message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
            if reasoning:
                message["reasoning"] = reasoning
            if calls:
                message["tool_calls"] = [{name: call[name] for name in ("id", "type", "function")} for call in calls]
            choice["message"] = message
        else:
            choice["text"] = text
        return self._object("", [choice], usage=_usage(pieces[-1]))

    def first(self) -> bytes:
        """The event that opens a streamed conversation; a continuation has none."""
        if not self.is_chat:
            return b""
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        return _event(self._object(".chunk", [choice]))

    def event(self, piece: Piece) -> bytes:
        """One piece as an event."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": piece.finish_reason}
        if self.is_chat:
            delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
            if piece.reasoning:
                delta["reasoning"] = piece.reasoning
            if piece.calls:
                delta["tool_calls"] = list(piece.calls)
            choice["delta"] = delta
        else:
            choice["text"] = piece.text
        return _event(self._object(".chunk", [choice]))

    def usage(self, last: Piece) -> bytes:
        """The event with the counts of tokens, for those who ask for it."""
        return _event(self._object(".chunk", [], usage=_usage(last)))

    def _object(self, suffix: str, choices: list[Any], **more: Any) -> dict[str, Any]:
        kind = f"chat.completion{suffix}" if self.is_chat else "text_completion"
        return {
            "id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices, **more
        }  # fmt: skip


DONE = b"data: [DONE]\n\n"


def error(status: int, message: str, kind: str = "BadRequestError") -> dict[str, Any]:
    """An error as OpenAI's and vLLM's endpoints give it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def error_event(status: int, message: str) -> bytes:
    """An error after the answer has begun."""
    return _event(error(status, message, "InternalServerError"))


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _usage(last: Piece) -> dict[str, int]:
    total = last.prompt_tokens + last.completion_tokens
    return {
        "prompt_tokens": last.prompt_tokens, "completion_tokens": last.completion_tokens, "total_tokens": total
    }  # fmt: skip
