"""One answer at a time, from transformers' own serving code: what it generates as pieces of text.

`transformers serve` brings the handlers of /v1/chat/completions and /v1/completions, which tokenize, generate in a
thread of their own, read tool calls and reasoning where the tokenizer says how, and end early when nobody listens. They
are given one model under one name, so that no request makes them load another; its routes that do are never mounted.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

from attrs import define, field, frozen

from inference_server.refusal import InputError
from inference_server.serve_transformers.model import Model
from inference_server.serve_transformers.requests import Asked

# The only name under which the handlers know a model.
PINNED: Final = "pinned"


class GenerationError(Exception):
    """The model could not go on; the message says why."""


@frozen(kw_only=True)
class Piece:
    """What came next: text, a thought, calls, or the end with its reason and the counts of tokens."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


@define
class Generator:
    """The handlers around the one model."""

    model: Model
    _chat: Any = field(init=False)
    _completion: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        from transformers.cli.serving.chat_completion import ChatCompletionHandler
        from transformers.cli.serving.completion import CompletionHandler
        from transformers.cli.serving.model_manager import ModelManager, TimedModel
        from transformers.cli.serving.utils import GenerationState

        manager = ModelManager(model_timeout=-1)
        held = TimedModel(self.model.model, timeout_seconds=-1, processor=self.model.tokenizer)
        manager.loaded_models[manager.process_model_name(PINNED)] = held
        manager.force_model = PINNED
        state = GenerationState()
        self._chat = ChatCompletionHandler(manager, state)
        self._completion = CompletionHandler(manager, state)

    def prompt_tokens(self, asked: Asked) -> int:
        """Counts the prompt. Raises InputError for a conversation that the model's template refuses."""
        if asked.messages is None:
            return self.model.count(asked.prompt or "")
        prompt = self.model.prompt_of(_for_template(asked.messages), asked.tools, dict(asked.template_arguments))
        return self.model.count_prompt(prompt)

    def room(self, asked: Asked) -> int:
        """How many tokens the answer may have. Raises InputError when they do not fit beside the prompt."""
        count, limit = self.prompt_tokens(asked), self.model.max_model_len
        wanted = 1 if asked.max_tokens is None else asked.max_tokens
        if count + wanted > limit:
            raise InputError(
                field="messages" if asked.prompt is None else "prompt",
                rule=f"prompt and answer at most {limit} tokens together",
                found=f"{count} of the prompt and {wanted} of the answer",
                remedy="shorten the prompt or ask for fewer",
            )
        return limit - count if asked.max_tokens is None else asked.max_tokens

    async def pieces(self, asked: Asked, room: int, request_id: str) -> AsyncGenerator[Piece, None]:
        """The answer as it comes. Closing the iterator ends the generation.

        Raises:
            GenerationError: the model could not go on.
        """
        body: dict[str, Any] = {"model": PINNED, "stream": True, "generation_config": self._settings(asked, room)}
        if asked.seed is not None:
            body["seed"] = asked.seed
        if asked.messages is None:
            response = await self._completion.handle_request({**body, "prompt": asked.prompt}, request_id)
        else:
            body |= {"messages": asked.messages, "chat_template_kwargs": dict(asked.template_arguments)}
            if asked.tools is not None:
                body["tools"] = asked.tools
            response = await self._chat.handle_request(body, request_id)
        events = response.body_iterator
        try:
            async for text in events:
                for event in _events(text):
                    yield _piece(event)
        finally:
            await events.aclose()

    def _settings(self, asked: Asked, room: int) -> str:
        config = copy.deepcopy(self.model.generation_config)
        config.max_length = None
        config.max_new_tokens = room
        for name, value in asked.settings.items():
            setattr(config, name, value)
        if asked.stop:
            config.stop_strings = list(asked.stop)
        if asked.stop_token_ids:
            own = config.eos_token_id
            ends = own if isinstance(own, list) else [] if own is None else [own]
            config.eos_token_id = [*ends, *asked.stop_token_ids]
        return json.dumps(config.to_diff_dict())


def _for_template(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the handlers hand them over: arguments of calls as objects."""
    found = copy.deepcopy(messages)
    for message in found:
        for call in message.get("tool_calls", ()):
            arguments = call["function"]["arguments"]
            if isinstance(arguments, str):
                try:
                    call["function"]["arguments"] = json.loads(arguments)
                except ValueError as error:
                    rule = "JSON in tool_calls[].function.arguments"
                    raise InputError(field="messages", rule=rule, found=str(error)) from error
    return found


def _events(text: str) -> list[dict[str, Any]]:
    """The events of one chunk of the handlers' stream. Their errors are not always JSON."""
    found = []
    for line in text.split("\n\n"):
        data = line.removeprefix("data: ").strip()
        if not data:
            continue
        try:
            event = json.loads(data)
        except ValueError as error:
            raise GenerationError(data.removeprefix('{"error": "').removesuffix('"}')) from error
        if "error" in event:
            raise GenerationError(str(event["error"]))
        found.append(event)
    return found


def _piece(event: dict[str, Any]) -> Piece:
    choice, usage = event["choices"][0], event.get("usage") or {}
    delta = choice.get("delta") or {}
    return Piece(
        text=choice.get("text") or delta.get("content") or "",
        reasoning=delta.get("reasoning_content") or "",
        calls=tuple(delta.get("tool_calls") or ()),
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
    )
