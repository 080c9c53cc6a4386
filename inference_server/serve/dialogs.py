"""The oldest body of POST /chat, that of KAITO 0.1's llama-2-chat server: several conversations, each with an answer.

    {"input_data": {"input_string": [[{"role": "user", "content": "…"}, …], …]},
     "parameters": {"max_gen_len": 64, "temperature": 0.6, "top_p": 0.9}}
    {"results": [[{"role": "User", "content": "…"}, …, {"role": "Assistant", "content": "…"}], …]}

Pure; every refusal names field, rule and finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from inference_server.refusal import InputError, nearest, shown
from inference_server.serve import sampling

INPUT_DATA, INPUT_STRING, PARAMETERS = "input_data", "input_string", "parameters"
# Each dialog is a request of its own to the engine.
MAX_DIALOGS: Final = 32
ROLES: Final = ("system", "user", "assistant")
# Its names, and those that the other bodies have for the same.
RENAMED: Final[Mapping[str, str]] = {"max_gen_len": "max_new_tokens", "temperature": "temperature", "top_p": "top_p"}


@frozen(kw_only=True)
class Dialogs:
    """A checked request."""

    dialogs: Sequence[Sequence[Mapping[str, str]]]
    settings: Mapping[str, Any]

    def completions(self) -> list[dict[str, Any]]:
        """The bodies for the OpenAI endpoint, one for each dialog."""
        return [{"messages": list(dialog), "stream": False, **self.settings} for dialog in self.dialogs]

    def results(self, answers: Sequence[str]) -> dict[str, Any]:
        """The historic answer: every dialog as it came, with roles in capitals, and the model's answer at its end."""
        return {
            "results": [
                [*(_turn(message["role"], message["content"]) for message in dialog), _turn("assistant", answer)]
                for dialog, answer in zip(self.dialogs, answers, strict=True)
            ]
        }


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role.capitalize(), "content": content}


def asks_for_them(body: Any) -> bool:
    """Whether the body is of this kind."""
    return isinstance(body, dict) and INPUT_DATA in body


def read(body: Mapping[str, Any]) -> Dialogs:
    """Checks a body of this kind. Raises InputError for the first thing that is wrong."""
    _names("", body, (INPUT_DATA, PARAMETERS))
    data = body[INPUT_DATA]
    if not isinstance(data, dict):
        raise InputError(field=INPUT_DATA, rule=f"an object with `{INPUT_STRING}`", found=shown(data))
    _names(f"{INPUT_DATA}.", data, (INPUT_STRING,))
    given = data.get(INPUT_STRING)
    field = f"{INPUT_DATA}.{INPUT_STRING}"
    if not given:
        raise InputError(field=field, rule="required, a list of dialogs", found="nothing")
    if not isinstance(given, list) or len(given) > MAX_DIALOGS:
        raise InputError(field=field, rule=f"a list of at most {MAX_DIALOGS} dialogs", found=shown(given))
    dialogs = [_dialog(f"{field}[{index}]", dialog) for index, dialog in enumerate(given)]
    return Dialogs(dialogs=dialogs, settings=_settings(body.get(PARAMETERS)))


def _dialog(field: str, value: Any) -> list[Mapping[str, str]]:
    if not isinstance(value, list) or not value:
        raise InputError(field=field, rule="a list of messages", found=shown(value))
    return [_message(f"{field}[{index}]", message) for index, message in enumerate(value)]


def _message(field: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise InputError(field=field, rule="an object with role and content", found=shown(value))
    _names(f"{field}.", value, ("role", "content"))
    role, content = value.get("role"), value.get("content")
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise InputError(field=f"{field}.role", rule=f"one of {', '.join(ROLES)}", found=shown(role))
    if not isinstance(content, str):
        raise InputError(field=f"{field}.content", rule="a string", found=shown(content))
    return {"role": role.lower(), "content": content}


def _settings(value: Any) -> Mapping[str, Any]:
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise InputError(field=PARAMETERS, rule="an object", found=shown(value))
    _names(f"{PARAMETERS}.", value, tuple(RENAMED))
    checked = {
        RENAMED[name]: sampling.CHECKS[RENAMED[name]](f"{PARAMETERS}.{name}", one)
        for name, one in value.items()
        if one is not None
    }
    return sampling.parameters(checked, PARAMETERS)


def _names(prefix: str, value: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in value:
        if name not in known:
            remedy = nearest(str(name), known) or "leave it out"
            raise InputError(
                field=f"{prefix}{name}", rule=f"one of {', '.join(known)}", found="an unknown name", remedy=remedy
            )
