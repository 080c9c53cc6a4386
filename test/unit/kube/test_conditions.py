from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.kube import conditions
from kaito_controller.kube.conditions import Condition
from kaito_controller.kube.timestamps import format_timestamp

THEN = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW = THEN + timedelta(minutes=5)


def condition(type_, status="True", reason="Because", at=None):
    return Condition(type=type_, status=status, reason=reason, last_transition_time=format_timestamp(at) if at else "")


def test_the_transition_time_stays_while_the_status_stays():
    """A new reason or message is no transition."""
    (merged,) = conditions.merge([condition("Ready", at=THEN)], [condition("Ready", reason="Other")], now=NOW)
    assert merged == condition("Ready", reason="Other", at=THEN)


def test_the_transition_time_moves_when_the_status_flips():
    """A flip is stamped with the time of the merge."""
    (merged,) = conditions.merge([condition("Ready", at=THEN)], [condition("Ready", status="False")], now=NOW)
    assert merged == condition("Ready", status="False", at=NOW)


def test_known_types_keep_their_place_and_new_ones_follow():
    """The order is stable, so a status that says the same compares equal and is not written again."""
    existing = [condition("A", at=THEN), condition("B", at=THEN)]
    merged = conditions.merge(existing, [condition("C"), condition("B"), condition("A")], now=NOW)
    assert [one.type for one in merged] == ["A", "B", "C"]


def test_a_type_that_is_not_desired_keeps_what_it_had():
    """Whoever writes one condition does not lose another's."""
    theirs = condition("Theirs", at=THEN)
    assert conditions.merge([theirs], [], now=NOW) == (theirs,)


def test_types_that_no_longer_apply_can_be_taken_out():
    """`without` drops the types named and keeps the rest in order."""
    kept = conditions.without([condition("A"), condition("B"), condition("C")], ["B"])
    assert [one.type for one in kept] == ["A", "C"]


def test_a_time_given_with_a_new_condition_is_kept():
    """A seeded condition may be dated back to the object's creation."""
    (merged,) = conditions.merge([], [condition("Launched", status="Unknown", at=THEN)], now=NOW)
    assert merged.last_transition_time == format_timestamp(THEN)


names = st.sampled_from("ABCDE")
some_conditions = st.lists(
    st.builds(condition, names, st.sampled_from(["True", "False", "Unknown"])), unique_by=lambda one: one.type
)


@given(some_conditions, some_conditions)
def test_merging_twice_is_merging_once(existing, desired):
    """A second pass with nothing new changes nothing, whatever the clock says."""
    once = conditions.merge(
        [evolve(one, last_transition_time=format_timestamp(THEN)) for one in existing], desired, now=NOW
    )
    assert once == conditions.merge(once, desired, now=NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    ("status", "true", "false"), [("True", True, False), ("False", False, True), ("Unknown", False, False)]
)
def test_unknown_is_neither_true_nor_false(status, true, false):
    """An absent condition is neither, too."""
    found = [condition("Ready", status=status)]
    assert (true, false) == (conditions.is_true(found, "Ready"), conditions.is_false(found, "Ready"))
    assert not conditions.is_true([], "Ready")
    assert not conditions.is_false([], "Ready")


def test_a_condition_of_decoded_json_is_read_by_its_type():
    """Any part of the status may be missing or null, as in an object that nobody has reported on."""
    ready = {"type": "Ready", "status": "False", "reason": "Because"}
    obj = {"status": {"conditions": [{"type": "Other", "status": "True"}, ready, {"type": "Null", "status": None}]}}
    assert conditions.condition_of(obj, "Ready") is ready
    assert [conditions.status_of(obj, type_) for type_ in ("Ready", "Other", "Null", "None")] == [
        "False",
        "True",
        "",
        "",
    ]
    for empty in ({}, {"status": None}, {"status": {"conditions": None}}):
        assert (conditions.condition_of(empty, "Ready"), conditions.status_of(empty, "Ready")) == (None, "")
