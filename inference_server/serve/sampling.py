"""From a body of POST /chat to a body of POST /v1/chat/completions. Pure; every refusal names field, rule and finding.

The field names are those of the historic server, which handed `generate_kwargs` to transformers' generate(). That of
KAITO 0.1 for falcon took them beside the prompt instead, in one flat body: both are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from inference_server.finite import is_finite
from inference_server.refusal import InputError, nearest, shown

# What the historic server took and this one does not need: accepted while it asks for nothing.
KWARGS: Final = "generate_kwargs"
NEUTRAL_BODY: Final[Mapping[str, tuple[Any, ...]]] = {
    "clean_up_tokenization_spaces": (None, False),
    "prefix": (None, ""),
    "handle_long_generation": (None,),
}
NEUTRAL_KWARGS: Final[Mapping[str, tuple[Any, ...]]] = {
    "num_beams": (None, 1),
    "num_beam_groups": (None, 1),
    "num_return_sequences": (None, 1),
    "early_stopping": (None, False),
    "diversity_penalty": (None, 0),
    "length_penalty": (None, 1),
    "typical_p": (None, 1),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "output_scores": (None, False),
    "return_dict_in_generate": (None, False),
    "remove_invalid_values": (None, False),
    "use_cache": (None, True),
}


@frozen(kw_only=True)
class Chat:
    """A checked request. Lengths count tokens; `max_length` and `min_length` count those of the prompt as well."""

    prompt: str
    return_full_text: bool
    parameters: Mapping[str, Any]
    max_length: int | None = None
    min_length: int = 0
    prefix: str = f"{KWARGS}."

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as the one message of a user."""
        return [{"role": "user", "content": self.prompt}]

    @property
    def needs_prompt_tokens(self) -> bool:
        """Whether a length counts the prompt, so that its tokens must be counted first."""
        return self.max_length is not None or self.min_length > 0

    def completion(self, prompt_tokens: int = 0) -> dict[str, Any]:
        """The body for the OpenAI endpoint. Raises InputError when the prompt alone is as long as `max_length`."""
        body = {"messages": self.messages, "stream": False, **self.parameters}
        if self.max_length is not None:
            room = self.max_length - prompt_tokens
            if room < 1:
                raise InputError(
                    field=f"{self.prefix}max_length",
                    rule=f"above the {prompt_tokens} tokens of the prompt, which it counts too",
                    found=str(self.max_length),
                    remedy="raise it or give max_new_tokens instead",
                )
            body.setdefault("max_completion_tokens", room)
        if self.min_length > prompt_tokens:
            body.setdefault("min_tokens", self.min_length - prompt_tokens)
        return body


def read(body: Any) -> Chat:
    """Checks a decoded body. Raises InputError for the first thing that is wrong."""
    if not isinstance(body, dict):
        raise InputError(field="body", rule="a JSON object", found=shown(body))
    prompt = body.get("prompt")
    if prompt is None and "messages" in body:
        raise InputError(
            field="messages",
            rule="/chat takes one `prompt`",
            found="a conversation",
            remedy="send conversations to /v1/chat/completions",
        )
    if prompt is None:
        raise InputError(field="prompt", rule="required, a string", found="nothing")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(field="prompt", rule="a string that is not empty", found=shown(prompt))
    flat = _flat(body)
    known = {"prompt", "return_full_text", KWARGS, *NEUTRAL_BODY}
    for name, value in body.items():
        if name not in flat:
            _check_neutral(name, name, value, known, NEUTRAL_BODY)
    full = body.get("return_full_text")
    prefix = "" if flat else f"{KWARGS}."
    values = _checked(flat or _nested(body), prefix)
    return Chat(
        prefix=prefix,
        prompt=prompt,
        return_full_text=False if full is None else _boolean("return_full_text", full),
        parameters=parameters(values, prefix.rstrip(".")),
        max_length=values.get("max_length"),
        min_length=values.get("min_length", 0),
    )


def _flat(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands beside the prompt as in KAITO 0.1, empty when the settings are nested."""
    flat = {name: value for name, value in body.items() if name in CHECKS or name in NEUTRAL_KWARGS}
    if flat and body.get(KWARGS):
        name = next(iter(flat))
        raise InputError(field=name, rule=f"beside the prompt, or in {KWARGS}", found="both ways", remedy="use one")
    return flat


def _nested(body: Mapping[str, Any]) -> Mapping[str, Any]:
    kwargs = body.get(KWARGS)
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(kwargs, dict):
        raise InputError(field=KWARGS, rule="an object", found=shown(kwargs))
    return kwargs


def parameters(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Names as the OpenAI endpoint has them. Greedy unless sampling was asked for, by do_sample or a temperature.

    `section` is the part of the body that the values stand in, for the refusal.
    """
    temperature = values.get("temperature")
    sample = values.get("do_sample", bool(temperature))
    if sample and temperature == 0:
        raise InputError(
            field=f"{section}.temperature".removeprefix("."),
            rule="above 0 when do_sample is true",
            found="0",
            remedy="leave do_sample out for the one most likely answer",
        )
    same = ("repetition_penalty", "seed", "stop")
    found = {name: values[name] for name in same if name in values}
    renamed = {
        "max_new_tokens": "max_completion_tokens",
        "min_new_tokens": "min_tokens",
        "eos_token_id": "stop_token_ids",
    }
    found |= {theirs: values[ours] for ours, theirs in renamed.items() if ours in values}
    if not sample:
        return {**found, "temperature": 0}
    found["temperature"] = 1.0 if temperature is None else temperature
    return found | {name: values[name] for name in ("top_p", "top_k", "min_p") if name in values}


def _checked(kwargs: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    known = {*CHECKS, *NEUTRAL_KWARGS}
    values = {}
    for name, value in kwargs.items():
        field = f"{prefix}{name}"
        _check_neutral(field, name, value, known, NEUTRAL_KWARGS)
        if name in CHECKS and value is not None:
            values[name] = CHECKS[name](field, value)
    return values


def _check_neutral(field: str, name: str, value: Any, known: set[str], neutral: Mapping[str, tuple[Any, ...]]) -> None:
    if name not in known:
        remedy = nearest(name, known) or "leave it out"
        raise InputError(field=field, rule=f"one of {', '.join(sorted(known))}", found="an unknown name", remedy=remedy)
    allowed = neutral.get(name, (value,))
    if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
        raise InputError(
            field=field,
            rule=f"this engine does not support it: only {' or '.join(_json(one) for one in allowed)}",
            found=shown(value),
            remedy="leave it out",
        )


def _json(value: Any) -> str:
    return {None: "null", "": '""'}.get(value, str(value).lower())


def _boolean(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(field=field, rule="true or false", found=shown(value))
    return value


def _whole(least: int, most: int = 2**31 - 1) -> Callable[[str, Any], int]:
    def check(field: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise InputError(field=field, rule=f"a whole number of at least {least}", found=shown(value))
        return value

    return check


def _number(rule: str, fits: Callable[[float], bool]) -> Callable[[str, Any], float]:
    def check(field: str, value: Any) -> float:
        if not is_finite(value) or not fits(value):
            raise InputError(field=field, rule=rule, found=shown(value))
        return value

    return check


def _texts(field: str, value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(one, str) and one for one in texts):
        raise InputError(field=field, rule="a string or a list of strings", found=shown(value))
    return texts


def _tokens(field: str, value: Any) -> list[int]:
    return [_whole(0)(field, one) for one in (value if isinstance(value, list) else [value])]


CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "do_sample": _boolean,
    "temperature": _number("a number from 0 to 2", lambda value: 0 <= value <= 2),  # noqa: PLR2004 (said in the rule)
    "top_p": _number("a number above 0 and at most 1", lambda value: 0 < value <= 1),
    "min_p": _number("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "top_k": _whole(0),
    "repetition_penalty": _number("a number above 0", lambda value: value > 0),
    "max_new_tokens": _whole(1),
    "min_new_tokens": _whole(0),
    "max_length": _whole(1),
    "min_length": _whole(0),
    "seed": _whole(0),
    "stop": _texts,
    "eos_token_id": _tokens,
    "pad_token_id": _whole(0),
}
