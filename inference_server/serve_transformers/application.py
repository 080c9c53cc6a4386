"""The endpoints: a Starlette application around one generator, with POST /chat as it is beside vLLM."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

from attrs import evolve, frozen
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.serve.chat import ChatRoute
from inference_server.serve_transformers import requests, wire
from inference_server.serve_transformers.generation import GenerationError, Generator, Piece
from inference_server.serve_transformers.metrics import Metrics
from inference_server.serve_transformers.requests import Asked
from inference_server.serve_transformers.stops import StopCutter
from inference_server.serve_transformers.turns import BusyError, Turns

# A conversation of the longest context in words, several times over.
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
BAD_REQUEST, NOT_FOUND, TOO_LARGE, TOO_MANY, FAILED = 400, 404, 413, 429, 500
# nginx's status for a client that left; nobody reads it.
CLIENT_CLOSED: Final = 499
logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class GoneError(Exception):
    """The client has closed the connection."""


class TooLargeError(Exception):
    """The body is longer than MAX_BODY_BYTES."""


@frozen(kw_only=True)
class Endpoints:
    """What the routes share."""

    generator: Generator
    turns: Turns
    metrics: Metrics
    served_names: tuple[str, ...]
    started: int

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        return await self._answer(request, requests.chat, is_chat=True)

    async def completion(self, request: Request) -> Response:
        """POST /v1/completions."""
        return await self._answer(request, requests.completion, is_chat=False)

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize: how many tokens a prompt or a conversation has."""
        body = await _json(request)
        asked = (requests.chat if isinstance(body, dict) and "messages" in body else requests.completion)(body)
        self._check_name(asked)
        count = await asyncio.to_thread(self.generator.prompt_tokens, asked)
        return JSONResponse({"count": count, "max_model_len": self.generator.model.max_model_len})

    async def models(self, _: Request) -> Response:
        """GET /v1/models: every name of the one model."""
        limit = self.generator.model.max_model_len
        shared = {"object": "model", "created": self.started, "owned_by": "transformers", "parent": None}
        data = [
            {"id": name, **shared, "root": self.served_names[-1], "max_model_len": limit} for name in self.served_names
        ]
        return JSONResponse({"object": "list", "data": data})

    async def health(self, _: Request) -> Response:
        """GET /health: the model is loaded before this listens."""
        return Response(status_code=200)

    async def show_metrics(self, _: Request) -> Response:
        """GET /metrics, in Prometheus' text format."""
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _answer(self, request: Request, read: Callable[[Any], Asked], *, is_chat: bool) -> Response:
        asked = read(await _json(request))
        self._check_name(asked)
        # Tokenizing a long prompt takes a while, in which others are still answered.
        room = await asyncio.to_thread(self.generator.room, asked)
        prefix = "chatcmpl" if is_chat else "cmpl"
        form = wire.Form(
            is_chat=is_chat,
            id=f"{prefix}-{uuid.uuid4().hex}",
            model=asked.model or self.served_names[0],
            created=int(time.time()),
        )
        if not asked.stream:
            return JSONResponse(await _unless_gone(request, self._whole(asked, room, form)))
        events = self._events(asked, room, form)
        # The first event comes with the turn: until then a refusal still has its own status.
        first = await _unless_gone(request, anext(events))
        return StreamingResponse(_after(first, events), media_type="text/event-stream")

    def _check_name(self, asked: Asked) -> None:
        if asked.model is not None and asked.model not in self.served_names:
            raise UnknownModelError(asked.model, self.served_names)

    async def _whole(self, asked: Asked, room: int, form: wire.Form) -> dict[str, Any]:
        async with self.turns.turn():
            return form.whole([piece async for piece in self._pieces(asked, room, form.id)])

    async def _events(self, asked: Asked, room: int, form: wire.Form) -> AsyncGenerator[bytes, None]:
        async with self.turns.turn(), aclosing(self._pieces(asked, room, form.id)) as pieces:
            yield form.first()
            last = Piece()
            try:
                async for last in pieces:
                    yield form.event(last)
                if asked.include_usage:
                    yield form.usage(last)
            except GenerationError as error:
                logger.exception("the model could not go on")
                yield wire.error_event(FAILED, str(error))
            yield wire.DONE

    async def _pieces(self, asked: Asked, room: int, request_id: str) -> AsyncGenerator[Piece, None]:
        """The pieces without what stands behind a stop text, counted."""
        cutter = StopCutter(asked.stop)
        async with aclosing(self.generator.pieces(asked, room, request_id)) as pieces:
            async for piece in pieces:
                shown = cutter.feed(piece.text) + (cutter.end() if piece.finish_reason else "")
                if piece.finish_reason:
                    self.metrics.prompt_tokens.inc(piece.prompt_tokens)
                    self.metrics.generation_tokens.inc(piece.completion_tokens)
                if shown or piece.reasoning or piece.calls or piece.finish_reason:
                    yield evolve(piece, text=shown)


class UnknownModelError(Exception):
    """A request names another model than the one that is served."""

    def __init__(self, name: str, served: tuple[str, ...]) -> None:
        super().__init__(
            f"model: one of {', '.join(served)}, found {name!r}; this server has one model and loads no other"
        )


def application(endpoints: Endpoints) -> Starlette:
    """The routes, their errors, and /chat in front of them."""
    return Starlette(
        routes=[
            Route(contract.CHAT_COMPLETIONS_PATH, endpoints.chat, methods=["POST"]),
            Route(contract.COMPLETIONS_PATH, endpoints.completion, methods=["POST"]),
            Route(contract.TOKENIZE_PATH, endpoints.tokenize, methods=["POST"]),
            Route(contract.MODELS_PATH, endpoints.models),
            Route(contract.HEALTH_PATH, endpoints.health),
            Route(contract.METRICS_PATH, endpoints.show_metrics),
        ],
        middleware=[Middleware(ChatRoute)],
        exception_handlers={
            InputError: _refused,
            UnknownModelError: _unknown,
            TooLargeError: _too_large,
            GoneError: _nobody,
            BusyError: _busy,
            GenerationError: _failed,
        },
    )


async def _json(request: Request) -> Any:
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY_BYTES:
            raise TooLargeError
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(field="body", rule="JSON", found=str(error) or "too deep a nesting") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name}, which JSON does not have")


async def _unless_gone(request: Request, answer: Awaitable[Result]) -> Result:
    """The answer, or GoneError once the client has left: then nothing is worked out for nobody."""
    work = asyncio.create_task(_waited_for(answer))
    leaving = asyncio.create_task(_left(request))
    either: set[asyncio.Task[Any]] = {work, leaving}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise GoneError
        return work.result()
    finally:
        leaving.cancel()
        work.cancel()


async def _waited_for(answer: Awaitable[Result]) -> Result:
    return await answer


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _after(first: bytes, events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with aclosing(events):
        if first:
            yield first
        async for event in events:
            yield event


async def _refused(_: Request, error: Any) -> Response:
    return JSONResponse(wire.error(BAD_REQUEST, str(error)), status_code=BAD_REQUEST)


async def _unknown(_: Request, error: Any) -> Response:
    return JSONResponse(wire.error(NOT_FOUND, str(error), "NotFoundError"), status_code=NOT_FOUND)


async def _nobody(_: Request, __: Any) -> Response:
    return Response(status_code=CLIENT_CLOSED)


async def _too_large(_: Request, __: Any) -> Response:
    message = f"body: at most {MAX_BODY_BYTES} bytes, found more"
    return JSONResponse(wire.error(TOO_LARGE, message), status_code=TOO_LARGE)


async def _busy(_: Request, error: Any) -> Response:
    message = f"Too many requests: {error.waiting} wait already; come back in {error.retry_after_s} s."
    body = {"error": {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
    return JSONResponse(body, status_code=TOO_MANY, headers={"retry-after": str(error.retry_after_s)})


async def _failed(_: Request, error: Any) -> Response:
    logger.error("the model could not go on: %s", error)
    return JSONResponse(wire.error(FAILED, str(error), "InternalServerError"), status_code=FAILED)
