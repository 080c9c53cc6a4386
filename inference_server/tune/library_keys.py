"""The keys that trl, peft and transformers have in the versions that are installed: the check is never out of date."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Any

from inference_server.tune.config import Known

_NAMES = re.compile(r"\b(str|bool|int|float|dict|list|None|Optional|Literal|tuple)\b")


def read() -> Known:
    """The three sections that are libraries' classes. Imports them, which takes a while."""
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig
    from trl import SFTConfig

    quantization = inspect.signature(BitsAndBytesConfig.__init__).parameters.values()
    return {
        "TrainingArguments": _fields(SFTConfig),
        "LoraConfig": _fields(LoraConfig),
        "QuantizationConfig": {
            one.name: _of_default(one.default)
            for one in quantization
            if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and one.name != "self"
        },
    }


def _fields(cls: type[Any]) -> dict[str, frozenset[str]]:
    return {one.name: _kinds(one.type) for one in dataclasses.fields(cls) if one.init}


def _kinds(annotation: Any) -> frozenset[str]:
    """The plain types in an annotation, which is a type or its text."""
    text = annotation if isinstance(annotation, str) else _text(annotation)
    found = set(_NAMES.findall(text)) or {"str"}
    if "Optional" in found:
        found.add("None")
    if "Literal" in found or "Strategy" in text or "SchedulerType" in text:
        found.add("str")
    if "tuple" in found:
        found.add("list")
    return frozenset(found - {"Optional", "Literal", "tuple"})


def _text(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation)


def _of_default(default: Any) -> frozenset[str]:
    """The options of bitsandbytes have no annotations: the type is the default's."""
    if isinstance(default, bool):
        return frozenset({"bool"})
    if isinstance(default, float):
        return frozenset({"float"})
    return frozenset({"str", "None", "list"}) if default is None else frozenset({"str"})
