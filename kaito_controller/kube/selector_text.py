"""Selectors as text, in the form of the API's query parameters, read into what can be matched here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kaito_controller.kube.selectors import DOES_NOT_EXIST, EXISTS, IN, NOT_IN, LabelExpression, LabelSelector

_KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
_VALUE = r"[-A-Za-z0-9_.]*"
_REQUIREMENT = re.compile(
    rf"\s*(?:!\s*(?P<absent>{_KEY})"
    rf"|(?P<set>{_KEY})\s+(?P<set_operator>in|notin)\s*\((?P<values>[^()]*)\)"
    rf"|(?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|(?P<present>{_KEY}))\s*(?:,|$)"
)
_TERM = re.compile(r"([^=!,\s]+)\s*==?\s*([^=!,]*)")


def parse_label_selector(text: str) -> LabelSelector:
    """The selector that a text such as `app=web,tier in (a,b),!old` means; an empty one means every object.

    Raises:
        ValueError: it is no label selector.
    """
    requirements: list[LabelExpression] = []
    position = 0
    while position < len(text):
        found = _REQUIREMENT.match(text, position)
        if found is None:
            raise ValueError(
                f"label selector: must be requirements like a=b, a!=b, a in (b,c), a notin (b), a or !a with commas"
                f" between them; found {text[position:]!r}"
            )
        requirements.append(_expression(found))
        position = found.end()
    return LabelSelector(match_expressions=tuple(requirements))


def parse_field_selector(text: str) -> Mapping[str, str]:
    """The values that a text such as `spec.nodeName=a,status.phase=Running` asks of fields.

    Raises:
        ValueError: it is no field selector, or asks for something else than equality.
    """
    found: dict[str, str] = {}
    for term in (part.strip() for part in text.split(",")):
        if not term:
            continue
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"field selector: only field=value can be asked of a cache; found {term!r}")
        found[match[1]] = match[2].strip()
    return found


def _expression(found: re.Match[str]) -> LabelExpression:
    if found["absent"]:
        return LabelExpression(key=found["absent"], operator=DOES_NOT_EXIST)
    if found["present"]:
        return LabelExpression(key=found["present"], operator=EXISTS)
    if found["set"]:
        values = tuple(value.strip() for value in found["values"].split(","))
        return LabelExpression(
            key=found["set"], operator=IN if found["set_operator"] == "in" else NOT_IN, values=values
        )
    return LabelExpression(
        key=found["key"], operator=NOT_IN if found["operator"] == "!=" else IN, values=(found["value"],)
    )
