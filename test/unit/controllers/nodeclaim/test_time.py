"""Pauses and deadlines, in virtual time."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NodeClaim, NodeClaimSpec, NodeClaimStatus, NodeClassReference
from kaito_controller.controllers.nodeclaim import conditions
from kaito_controller.controllers.nodeclaim.lifecycle.backoff import Backoff, BackoffPolicy
from kaito_controller.controllers.nodeclaim.lifecycle.launch import Launch, refusal
from kaito_controller.controllers.nodeclaim.lifecycle.liveness import deadline
from kaito_controller.controllers.nodeclaim.termination.claim import deadline_of, seconds_of
from kaito_controller.controllers.nodeclaim.termination.instance import poll_s
from kaito_controller.controllers.nodeclaim.timing import Timing
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.kube.timestamps import format_timestamp
from kaito_controller.providers.errors import CreateError, InsufficientCapacity, NodeClassNotReady
from kaito_controller.testing.clock import EPOCH, VirtualClock
from kaito_controller.testing.cloud import FakeCloud

TIMING = Timing()


def claim(uid="u1"):
    reference = NodeClassReference(group="kaito.sh", kind="KaitoNodeClass", name="default")
    return NodeClaim(
        metadata=ObjectMeta(name="ws1", uid=uid, generation=1, creation_timestamp=format_timestamp(EPOCH)),
        spec=NodeClaimSpec(node_class_ref=reference),
    )


async def test_a_full_cloud_is_asked_after_doubling_pauses_only():
    """However often the claim comes up, an hour of no capacity costs the cloud few calls, 120 s apart in the end."""
    clock = VirtualClock()
    cloud = FakeCloud(clock, limit=0)
    launch = Launch(cloud, clock, TIMING)
    asked_at = []
    for second in range(3600):
        for _ in range(3):
            before = cloud.calls["create"]
            result = await launch.launch(claim())
            if cloud.calls["create"] > before:
                asked_at.append(second)
                assert result.condition.reason == "InsufficientCapacityError"
            else:
                assert result.condition is None
            assert result.retry_after_s > 0
        clock.advance(1)
    assert asked_at[:6] == [0, 10, 30, 70, 150, 270]
    assert {later - earlier for earlier, later in pairwise(asked_at[4:])} == {120}


async def test_freed_capacity_is_tried_at_once_and_only_once():
    """When a machine goes, who waits may ask again; a further refusal pauses longer than before, not shorter."""
    clock = VirtualClock()
    cloud = FakeCloud(clock, limit=0)
    launch = Launch(cloud, clock, TIMING)
    assert (await launch.launch(claim())).retry_after_s == 10
    assert launch.waiting == {"ws1"}
    launch.capacity_freed()
    assert (await launch.launch(claim())).retry_after_s == 20
    assert cloud.calls["create"] == 2


async def test_success_forgets_the_pauses():
    """After a launch nothing of the refusals is remembered."""
    clock = VirtualClock()
    cloud = FakeCloud(clock, failures=deque([InsufficientCapacity("full.")]))
    launch = Launch(cloud, clock, TIMING)
    await launch.launch(claim())
    clock.advance(10)
    launched = await launch.launch(claim())
    assert (launched.condition.status, launched.instance.claim_uid) == ("True", "u1")
    assert launch.waiting == frozenset()


@pytest.mark.parametrize(
    ("error", "status", "reason", "message"),
    [
        (InsufficientCapacity("full.", remedy="Wait."), "False", "InsufficientCapacityError", "full. Wait."),
        (NodeClassNotReady("no class."), "False", "NodeClassNotReady", "no class."),
        (CreateError("QuotaExceeded", "quota 0."), "Unknown", "QuotaExceeded", "quota 0."),
        (ConnectionError("reset"), "Unknown", "LaunchFailed", "ConnectionError: reset"),
    ],
)
def test_what_launched_says_of_a_refusal(error, status, reason, message):
    """What will not pass by retrying soon is False; what may is Unknown; both keep the cloud's words and the remedy."""
    found = refusal(error)
    assert (found.status, found.reason, found.message) == (status, reason, message)


def conditions_after(*steps):
    """Conditions after steps of (seconds since creation, condition)."""
    found = conditions.of(claim())
    for seconds, condition in steps:
        found = conditions.updated(found, [condition], generation=1, now=EPOCH + timedelta(seconds=seconds))
    return found


LAUNCH_FAILS = conditions.unknown(ConditionType.LAUNCHED, "LaunchFailed", "no")
FULL = conditions.fails(ConditionType.LAUNCHED, "InsufficientCapacityError", "full")
LAUNCHED = conditions.holds(ConditionType.LAUNCHED)
REGISTERED = conditions.holds(ConditionType.REGISTERED)


@pytest.mark.parametrize(
    ("steps", "reason", "at_s"),
    [
        ([], "LaunchTimeout", 300),
        ([(200, LAUNCH_FAILS)], "LaunchTimeout", 300),
        ([(1, FULL)], None, None),
        ([(1, FULL), (4000, LAUNCH_FAILS)], "LaunchTimeout", 4300),
        ([(5, LAUNCHED)], "RegistrationTimeout", 905),
        ([(1, FULL), (4000, LAUNCHED)], "RegistrationTimeout", 4900),
        ([(5, LAUNCHED), (60, REGISTERED)], None, None),
    ],
    ids=["new", "failing", "no room", "failing after no room", "booting", "booting late", "joined"],
)
def test_the_deadline_a_claim_is_under(steps, reason, at_s):
    """Failing launches and machines that do not join are given up; waiting for capacity never is."""
    limit = deadline(conditions_after(*steps), TIMING)
    found = (None, None) if limit is None else (limit.reason.value, (limit.at - EPOCH).total_seconds())
    assert found == (reason, at_s)


def test_a_deadline_names_what_was_last_known():
    """The event of a claim that is given up says why it never came up."""
    limit = deadline(conditions_after((200, LAUNCH_FAILS)), TIMING)
    assert limit.message == "the machine has not been made within 300 s; last known: no"
    assert limit.remaining_s(EPOCH + timedelta(seconds=290)) == 10


@given(st.integers(1, 10_000), st.floats(0.1, 60), st.floats(1, 600))
def test_pauses_grow_up_to_their_limit(failures, first, limit):
    """No pause is above the limit or below the one before."""
    policy = BackoffPolicy(first_s=first, limit_s=limit)
    assert policy.pause_s(failures) <= policy.pause_s(failures + 1) <= limit


def test_keys_pause_independently():
    """One claim's refusals do not slow another."""
    backoff, policy = Backoff(), BackoffPolicy(first_s=1, limit_s=60)
    assert [backoff.failed("a", policy, now) for now in (0.0, 1.0, 3.0)] == [1, 2, 4]
    assert (backoff.remaining_s("a", 5.0), backoff.remaining_s("b", 5.0)) == (2.0, 0.0)
    backoff.forget("a")
    assert backoff.remaining_s("a", 5.0) == 0.0


def test_a_grace_period_becomes_a_deadline():
    """TerminationGracePeriod counts from the deletion; without one, or before it, there is no deadline."""
    deleted = {"metadata": {"deletionTimestamp": "2026-11-22T12:00:00Z"}, "spec": {"terminationGracePeriod": "1h30m"}}
    assert deadline_of(deleted) == "2026-11-22T13:30:00Z"
    assert deadline_of({**deleted, "spec": {}}) is None
    assert deadline_of({**deleted, "metadata": {}}) is None
    assert seconds_of("90s") == 90


@pytest.mark.parametrize(("elapsed_s", "pause_s"), [(0, 0.25), (4, 1.0), (12, 3.0), (600, 5.0)])
def test_an_ending_machine_is_asked_for_at_a_slowing_pace(elapsed_s, pause_s):
    """A quarter of the time it has taken so far, within bounds."""
    ending = conditions_after((0, conditions.holds(ConditionType.INSTANCE_TERMINATING)))
    reference = claim()
    found = NodeClaim(metadata=reference.metadata, spec=reference.spec, status=NodeClaimStatus(conditions=ending))
    assert poll_s(found, EPOCH + timedelta(seconds=elapsed_s), 5.0) == pause_s
    assert poll_s(reference, EPOCH, 5.0) == 0.25
