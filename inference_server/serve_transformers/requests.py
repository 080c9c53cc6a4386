"""From the body of an OpenAI request to what transformers is asked for. Pure; every refusal names field and rule.

Only what can be done is taken: a field that would silently change nothing is refused, but for those that ask for
nothing of the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from inference_server.finite import is_finite
from inference_server.refusal import InputError, nearest, shown

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
MAX_MESSAGES: Final = 4096
MAX_TOOLS: Final = 128
MAX_STOPS: Final = 16
MAX_STOP_LENGTH: Final = 256
# What a request may say of its sender; nothing follows from it.
WITHOUT_EFFECT: Final = frozenset(
    {"user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier", "prompt_cache_key"}
)
# What asks for nothing with these values, and cannot be done with others.
NEUTRAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "logprobs": (None, False, 0),
    "top_logprobs": (None, 0),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "echo": (None, False),
    "suffix": (None, ""),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "reasoning_effort": (None,),
}
# Arguments of a chat template that are the server's to give.
RESERVED: Final = frozenset(
    {"messages", "conversation", "tools", "chat_template", "add_generation_prompt", "continue_final_message"}
    | {"tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs"}
    | {"return_assistant_tokens_mask", "documents", "load_audio_from_video", "num_frames"}
)
SAMPLING: Final = {
    "model", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "stop",
    "stop_token_ids", "max_tokens", "max_completion_tokens", "min_tokens", "chat_template_kwargs",
}  # fmt: skip


@frozen(kw_only=True)
class Asked:
    """A checked request: for an answer to `messages`, or else for the continuation of `prompt`.

    `settings` are of transformers' GenerationConfig. `max_tokens` bounds the answer; None is as long as fits.
    """

    model: str | None
    messages: list[dict[str, Any]] | None
    prompt: str | None
    tools: list[Any] | None
    template_arguments: Mapping[str, Any]
    settings: Mapping[str, Any]
    stop: tuple[str, ...]
    stop_token_ids: tuple[int, ...]
    max_tokens: int | None
    seed: int | None
    stream: bool
    include_usage: bool


def chat(body: Any) -> Asked:
    """Checks the body of POST /v1/chat/completions. Raises InputError for the first thing that is wrong."""
    body = _object(body)
    _check_names(body, {"messages", "tools", "tool_choice"})
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or len(messages) > MAX_MESSAGES:
        raise _wrong("messages", f"a list of 1 to {MAX_MESSAGES} messages", messages)
    checked = [_message(f"messages[{index}]", one) for index, one in enumerate(messages)]
    return _asked(body, messages=checked, tools=_tools(body))


def completion(body: Any) -> Asked:
    """Checks the body of POST /v1/completions. Raises InputError for the first thing that is wrong."""
    body = _object(body)
    _check_names(body, {"prompt"})
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise _wrong("prompt", "one text that is not empty", prompt)
    return _asked(body, prompt=prompt)


def _asked(
    body: Mapping[str, Any],
    *,
    messages: list[dict[str, Any]] | None = None,
    prompt: str | None = None,
    tools: list[Any] | None = None,
) -> Asked:
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise _wrong("model", "a name", model)
    newer = _count(body, "max_completion_tokens")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _wrong("stream_options", "an object", options)
    return Asked(
        model=model,
        messages=messages,
        prompt=prompt,
        tools=tools,
        template_arguments=_template_arguments(body.get("chat_template_kwargs")),
        settings=_settings(body),
        stop=_stops(body.get("stop")),
        stop_token_ids=_token_ids(body.get("stop_token_ids")),
        max_tokens=newer if newer is not None else _count(body, "max_tokens"),
        seed=_count(body, "seed", least=0),
        stream=_flag(body, "stream"),
        include_usage=_flag(options or {}, "include_usage"),
    )


def _check_names(body: Mapping[str, Any], own: set[str]) -> None:
    known = own | SAMPLING | set(WITHOUT_EFFECT) | set(NEUTRAL)
    for name, value in body.items():
        if name not in known:
            close = nearest(str(name), known)
            raise InputError(field=str(name), rule="a field of this endpoint", found="an unknown name", remedy=close)
        if name in NEUTRAL and not any(value == one and type(value) is type(one) for one in NEUTRAL[name]):
            remedy = "leave it out, or serve the model with vLLM"
            raise InputError(field=name, rule="not supported by this runtime", found=shown(value), remedy=remedy)


def _message(field: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise _wrong(field, "an object", message)
    if message.get("role") not in ROLES:
        raise _wrong(f"{field}.role", f"one of {', '.join(ROLES)}", message.get("role"))
    found: dict[str, Any] = {"role": message["role"], "content": _text(f"{field}.content", message.get("content"))}
    if isinstance(message.get("tool_call_id"), str):
        found["tool_call_id"] = message["tool_call_id"]
    calls = message.get("tool_calls")
    if calls:
        if not isinstance(calls, list) or not all(_is_call(one) for one in calls):
            raise _wrong(f"{field}.tool_calls", "a list of calls, each with function.name and .arguments", calls)
        found["tool_calls"] = calls
    return found


def _is_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str | dict)
    )


def _text(field: str, content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise _wrong(field, "a text or a list of parts", content)
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            remedy = "send text, or serve the model with vLLM"
            raise InputError(field=field, rule="parts of type text", found=shown(part), remedy=remedy)
        texts.append(text)
    # As vLLM joins them.
    return "\n".join(texts)


def _tools(body: Mapping[str, Any]) -> list[Any] | None:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if choice not in (None, "auto", "none"):
        remedy = "leave it out, or serve the model with vLLM"
        raise InputError(field="tool_choice", rule="auto or none", found=shown(choice), remedy=remedy)
    if tools is None or tools == [] or choice == "none":
        return None
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise _wrong("tools", f"a list of at most {MAX_TOOLS} tools", tools)
    for index, one in enumerate(tools):
        function = one.get("function") if isinstance(one, dict) and one.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise _wrong(f"tools[{index}]", "an object of type function with function.name", one)
    return tools


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling as transformers names it. Without a temperature the model's own settings stand."""
    settings: dict[str, Any] = {}
    penalty = _number(body, "repetition_penalty", 0, math.inf, excluding_least=True)
    if penalty is not None:
        settings["repetition_penalty"] = penalty
    shortest = _count(body, "min_tokens", least=0)
    if shortest:
        settings["min_new_tokens"] = shortest
    temperature = _number(body, "temperature", 0, 100)
    top_p = _number(body, "top_p", 0, 1, excluding_least=True)
    min_p = _number(body, "min_p", 0, 1)
    top_k = _count(body, "top_k", least=-1)
    if temperature == 0:
        return settings | {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50, "min_p": None}
    given = {"top_p": top_p, "min_p": min_p, "top_k": None if top_k is None else max(0, top_k)}
    settings |= {name: value for name, value in given.items() if value is not None}
    if temperature is not None:
        settings |= {"do_sample": True, "temperature": temperature}
    return settings


def _template_arguments(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong("chat_template_kwargs", "an object", value)
    for name, one in value.items():
        if name in RESERVED or not isinstance(one, bool | int | float | str):
            raise _wrong(f"chat_template_kwargs.{name}", "a plain value for the model's own template", one)
    return value


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value if value is not None else []
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        raise _wrong("stop", f"a text or a list of at most {MAX_STOPS}", value)
    for one in stops:
        if not isinstance(one, str) or not 0 < len(one) <= MAX_STOP_LENGTH:
            raise _wrong("stop", f"texts of 1 to {MAX_STOP_LENGTH} characters", one)
    return tuple(stops)


def _token_ids(value: Any) -> tuple[int, ...]:
    found = [value] if type(value) is int else value if value is not None else []
    if not isinstance(found, list) or len(found) > MAX_STOPS or not all(type(one) is int and one >= 0 for one in found):
        raise _wrong("stop_token_ids", f"a list of at most {MAX_STOPS} token ids", value)
    return tuple(found)


def _count(body: Mapping[str, Any], name: str, *, least: int = 1) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value < 2**63:
        raise _wrong(name, f"a whole number from {least}", value)
    return value


def _number(
    body: Mapping[str, Any], name: str, least: float, most: float, *, excluding_least: bool = False
) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not is_finite(value) or not least <= value <= most or (excluding_least and value == least):
        rule = f"above {least:g}" if excluding_least else f"from {least:g}"
        raise _wrong(name, rule if most == math.inf else f"{rule} to {most:g}", value)
    return float(value)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return bool(value)


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise _wrong("body", "a JSON object", body)
    return body


def _wrong(field: str, rule: str, value: object) -> InputError:
    return InputError(field=field, rule=rule, found="nothing" if value is None else shown(value))
