"""Selectors as text: what the API's query parameters say, matched as the API server matches."""

from __future__ import annotations

import pytest

from kaito_controller.kube.selector_text import parse_field_selector, parse_label_selector

LABELS = {"app": "web", "tier": "front", "kaito.sh/size": "big", "empty": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app=web",
        "app==web,tier=front",
        "app in (api, web)",
        "app notin (api),tier",
        "!old",
        "old!=1",
        "absent notin (a,b)",
        "kaito.sh/size=big",
        "empty=",
        " app = web , !old ",
    ],
)
def test_requirements_that_hold(text: str) -> None:
    """Every form; what is not there meets != and notin."""
    assert parse_label_selector(text).matches(LABELS)


@pytest.mark.parametrize(
    "text", ["app=api", "app!=web", "app in (api)", "app notin (web)", "!app", "old", "app=web,old"]
)
def test_requirements_that_do_not(text: str) -> None:
    """All must hold."""
    assert not parse_label_selector(text).matches(LABELS)


@pytest.mark.parametrize("text", ["=a", "app in web", "app in (a", "a=b c=d", "a>1", "a=b,,c"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    """The error shows where it stops making sense."""
    with pytest.raises(ValueError, match="label selector: must be"):
        parse_label_selector(text)


def test_fields_are_asked_for_by_exact_value_only() -> None:
    """Both signs of equality, several at once; anything else is refused."""
    assert parse_field_selector("spec.nodeName=a, status.phase==Running") == {
        "spec.nodeName": "a",
        "status.phase": "Running",
    }
    assert parse_field_selector("") == {}
    for wrong in ("spec.nodeName!=a", "spec.nodeName", "=a"):
        with pytest.raises(ValueError, match="field selector"):
            parse_field_selector(wrong)
