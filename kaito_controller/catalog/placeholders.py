"""`{parameter}` in the strings of a runtime, replaced by the operator's values: no other syntax, no evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def placeholders(value: Any) -> set[str]:
    """The names of all parameters that occur in the strings of a decoded YAML value."""
    if isinstance(value, str):
        return set(_PLACEHOLDER.findall(value))
    if isinstance(value, Mapping):
        return placeholders(list(value.values()))
    if isinstance(value, list | tuple):
        return {name for item in value for name in placeholders(item)}
    return set()


def fill(value: Any, parameters: Mapping[str, str]) -> Any:
    """The same value with every placeholder replaced; raises KeyError for one without a value."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: parameters[match.group(1)], value)
    if isinstance(value, Mapping):
        return {key: fill(item, parameters) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill(item, parameters) for item in value]
    return value
