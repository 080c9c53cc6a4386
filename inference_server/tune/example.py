"""From a row to something to learn: the forms that data may have."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from attrs import frozen

from inference_server.refusal import shown
from inference_server.tune.rows import parse_json

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_LOOKS_LIKE_SHAREGPT: Final = "conversations"


class Form(Enum):
    """What columns a row has, in KAITO's words. The first that fits is taken."""

    COLUMNS = "context_column and response_column"
    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt and completion"
    INSTRUCTION = "instruction and output"
    TEXT = "text"


@frozen(kw_only=True)
class Columns:
    """The names of columns that DatasetConfig may change, with KAITO's defaults."""

    context: str | None = None
    response: str = "text"
    messages: str = "messages"

    def wanted(self) -> frozenset[str]:
        """Every column that some form reads."""
        own = {self.context or "prompt", self.response, self.messages}
        return frozenset(own | {"prompt", "completion", "instruction", "input", "output"})

    def needed(self, form: Form) -> tuple[str, ...]:
        """The columns without which a row does not have this form."""
        return {
            Form.COLUMNS: (self.context or "", self.response),
            Form.MESSAGES: (self.messages,),
            Form.PROMPT_COMPLETION: ("prompt", "completion"),
            Form.INSTRUCTION: ("instruction", "output"),
            Form.TEXT: (self.response,),
        }[form]

    def form_of(self, row: Mapping[str, Any]) -> Form | None:
        """The form of a row, or None for one that has none of them."""
        forms = [form for form in Form if form is not Form.COLUMNS or self.context]
        return next((form for form in forms if all(row.get(name) is not None for name in self.needed(form))), None)


@frozen
class Exchange:
    """Learnt is the completion, given the prompt."""

    prompt: str | list[dict[str, str]]
    completion: str | list[dict[str, str]]


@frozen
class Conversation:
    """Learnt is the whole of it."""

    messages: list[dict[str, str]]


@frozen
class Text:
    """Learnt is every token."""

    text: str


Example = Exchange | Conversation | Text


class BadRowError(ValueError):
    """A row that cannot be learnt from; the text says why and what to do."""


def example(row: Mapping[str, Any], form: Form, columns: Columns) -> Example:
    """What the row teaches. Raises BadRowError."""
    missing = [name for name in columns.needed(form) if row.get(name) is None]
    if missing:
        found = f"found {shown(sorted(row), 120)}"
        raise BadRowError(f"the column {missing[0]!r} is missing or null, {found}; all rows need {form.value}")
    if form is Form.MESSAGES:
        return Conversation(_conversation(row[columns.messages], columns.messages))
    if form is Form.TEXT:
        return Text(_text(row[columns.response], columns.response))
    if form is Form.INSTRUCTION:
        return _instruction(row)
    prompt, completion = columns.needed(form)
    return _exchange(row[prompt], row[completion], prompt, completion)


def unknown_form(row: Mapping[str, Any]) -> str:
    """What to say of a row that has none of the forms."""
    found = f"found {shown(sorted(str(name) for name in row), 160)}" if row else "found no column"
    told = f"no form that is known: needed are {', or '.join(form.value for form in list(Form)[1:])}; {found}"
    if _LOOKS_LIKE_SHAREGPT in row:
        return f"{told}; rename `conversations`, `from` and `value` to `messages`, `role` and `content`"
    return f"{told}; or name the columns in DatasetConfig"


def _instruction(row: Mapping[str, Any]) -> Exchange:
    instruction = _text(row["instruction"], "instruction")
    context = row.get("input")
    context = _text(context, "input", may_be_empty=True) if context is not None else ""
    prompt = f"{instruction}\n\n{context}" if context.strip() else instruction
    return Exchange(prompt, _text(row["output"], "output"))


def _exchange(prompt: Any, completion: Any, prompt_name: str, completion_name: str) -> Exchange:
    if isinstance(prompt, list) and isinstance(completion, list):
        answer = _messages(completion, completion_name)
        if not answer or any(one["role"] != "assistant" for one in answer):
            raise BadRowError(f"{completion_name}: messages of the role assistant are needed")
        return Exchange(_messages(prompt, prompt_name), answer)
    return Exchange(_text(prompt, prompt_name, may_be_empty=True), _text(completion, completion_name))


def _conversation(value: Any, name: str) -> list[dict[str, str]]:
    if isinstance(value, str):
        # CSV knows no lists: there they are written as JSON.
        try:
            value = parse_json(value)
        except ValueError as error:
            raise BadRowError(f"{name}: {error}") from error
    if not isinstance(value, list):
        raise BadRowError(f"{name}: a list of messages is needed, found {shown(value, 40)}")
    messages = _messages(value, name)
    if not any(one["role"] == "assistant" for one in messages):
        raise BadRowError(f"{name}: no message of the role assistant, so there is nothing to learn")
    return messages


def _messages(value: list[Any], name: str) -> list[dict[str, str]]:
    return [_message(one, f"{name}[{index}]") for index, one in enumerate(value)]


def _message(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise BadRowError(f"{name}: an object with role and content is needed, found {shown(value, 40)}")
    role = value.get("role")
    if role not in ROLES:
        raise BadRowError(f"{name}.role: one of {', '.join(ROLES)} is needed, found {shown(role, 40)}")
    return {"role": role, "content": _text(value.get("content"), f"{name}.content", may_be_empty=role != "assistant")}


def _text(value: Any, name: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise BadRowError(f"{name}: a text is needed, found {shown(value, 40)}")
    if not may_be_empty and not value.strip():
        raise BadRowError(f"{name}: empty, so there is nothing to learn")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRowError(f"{name}: half a surrogate pair at letter {error.start + 1}, which is no text") from error
    return value
