from __future__ import annotations

import pytest

from kaito_controller.kube.selectors import LabelExpression, LabelSelector


def expression(operator: str, *values: str, key: str = "gpu") -> LabelExpression:
    return LabelExpression(key=key, operator=operator, values=values)


@pytest.mark.parametrize(
    ("requirement", "labels", "expected"),
    [
        (expression("In", "a", "b"), {"gpu": "b"}, True),
        (expression("In", "a"), {}, False),
        (expression("NotIn", "a"), {"gpu": "b"}, True),
        (expression("NotIn", "a"), {"gpu": "a"}, False),
        (expression("NotIn", "a"), {}, True),
        (expression("Exists"), {"gpu": ""}, True),
        (expression("Exists"), {}, False),
        (expression("DoesNotExist"), {}, True),
        (expression("DoesNotExist"), {"gpu": "a"}, False),
        (expression("Nonsense"), {"gpu": "a"}, False),
    ],
)
def test_an_expression_matches_as_in_kubernetes(requirement, labels, expected):
    """Every operator, with the label there and not there."""
    assert expected == requirement.matches(labels)


def test_all_requirements_must_hold():
    """Both matchLabels and matchExpressions are honoured."""
    selector = LabelSelector(match_labels={"apps": "x"}, match_expressions=(expression("Exists"),))
    assert selector.matches({"apps": "x", "gpu": "1", "more": "y"})
    assert not selector.matches({"apps": "x"})
    assert not selector.matches({"gpu": "1"})


def test_an_empty_selector_matches_everything_and_says_that_it_is_empty():
    """Whoever must not select everything can ask."""
    assert LabelSelector().matches({})
    assert LabelSelector().is_empty


def test_the_query_form_is_what_the_api_server_parses():
    """Sorted, so that equal selectors share an informer."""
    selector = LabelSelector(
        match_labels={"b": "2", "a": "1"},
        match_expressions=(expression("In", "x", "y"), expression("NotIn", "z"), expression("DoesNotExist", key="no")),
    )
    assert str(selector) == "a=1,b=2,gpu in (x,y),gpu notin (z),!no"


def test_requirements_say_the_same_as_the_selector():
    """A node affinity term made of them selects the same nodes."""
    selector = LabelSelector(match_labels={"a": "1"}, match_expressions=(expression("Exists"),))
    for labels in ({"a": "1", "gpu": ""}, {"a": "1"}, {"gpu": ""}, {}):
        assert selector.matches(labels) == all(one.matches(labels) for one in selector.requirements())
