"""Which pods leave a node, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.api import labels as keys
from kaito_controller.controllers.nodeclaim.termination.drain import Group, describe, group_of, holds_node, plan_drain
from kaito_controller.kube.timestamps import format_timestamp

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
STUCK_S = 60.0


def pod(name="p", *, daemon=False, critical=False, deleted=None, phase="Running", annotations=None, **spec):
    head = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "annotations": annotations or {}}
    if daemon:
        head["ownerReferences"] = [{"kind": "DaemonSet", "name": "d"}]
    if deleted is not None:
        head["deletionTimestamp"] = format_timestamp(deleted)
    if critical:
        spec["priorityClassName"] = "system-cluster-critical"
    return {"metadata": head, "spec": spec, "status": {"phase": phase}}


def plan(*pods, deadline=None, now=NOW):
    return plan_drain(pods, now=now, deadline=deadline, stuck_s=STUCK_S)


def names(pods):
    return [one["metadata"]["name"] for one in pods]


@pytest.mark.parametrize(
    "stays",
    [
        pod(phase="Succeeded"),
        pod(phase="Failed"),
        pod(annotations={"kubernetes.io/config.mirror": "x"}),
        pod(tolerations=[{"operator": "Exists"}]),
        pod(tolerations=[{"key": keys.TAINT_DISRUPTED, "operator": "Exists", "effect": "NoSchedule"}]),
        pod(deleted=NOW - timedelta(seconds=61)),
    ],
    ids=["succeeded", "failed", "mirror", "tolerates all", "tolerates disruption", "stuck"],
)
def test_who_does_not_hold_a_node(stays):
    """Finished, mirror, tolerating and stuck pods neither leave nor hold the node."""
    assert plan(stays).is_done


@pytest.mark.parametrize(
    "holds",
    [
        pod(),
        pod(phase="Pending"),
        pod(tolerations=[{"key": "sku", "operator": "Exists"}]),
        pod(tolerations=[{"key": keys.TAINT_DISRUPTED, "operator": "Exists", "effect": "NoExecute"}]),
        pod(deleted=NOW - timedelta(seconds=59)),
    ],
    ids=["running", "pending", "tolerates another", "tolerates another effect", "terminating"],
)
def test_who_holds_a_node(holds):
    """Everything else is waited for."""
    assert holds_node(holds, now=NOW, stuck_s=STUCK_S)


def test_groups_leave_one_after_another():
    """Ordinary before its daemons before critical before critical daemons; a group waits for the one before."""
    pods = [
        pod("critical-daemon", critical=True, daemon=True),
        pod("critical", critical=True),
        pod("daemon", daemon=True),
        pod("ordinary"),
    ]
    order = []
    while pods:
        drain = plan(*pods)
        assert names(drain.waiting) == names(pods)
        order += names(drain.evict)
        pods = [one for one in pods if one not in drain.evict]
    assert order == ["ordinary", "daemon", "critical", "critical-daemon"]
    assert plan().is_done


def test_a_terminating_pod_holds_back_the_next_group():
    """A pod that was evicted and has not gone keeps critical pods where they are."""
    drain = plan(pod("leaving", deleted=NOW), pod("critical", critical=True))
    assert (names(drain.evict), names(drain.waiting)) == ([], ["leaving", "critical"])


def test_do_not_disrupt_is_not_evicted_but_holds():
    """A pod that asks not to be disrupted stays and blocks; the others of its group leave."""
    asks = pod("asks", annotations={keys.DO_NOT_DISRUPT: "true"})
    drain = plan(asks, pod("other"))
    assert names(drain.evict) == ["other"]
    assert names(drain.blocked) == ["asks"]
    assert names(plan(asks).waiting) == ["asks"]


def test_near_the_deadline_a_pod_is_deleted_so_that_its_own_grace_fits():
    """At deadline minus the pod's grace budgets no longer count, and groups neither."""
    deadline = NOW + timedelta(seconds=30)
    soon = pod("soon", terminationGracePeriodSeconds=30, annotations={keys.DO_NOT_DISRUPT: "true"})
    later = pod("later", terminationGracePeriodSeconds=29)
    drain = plan(soon, later, deadline=deadline)
    assert (names(drain.delete), names(drain.evict), drain.blocked) == (["soon"], ["later"], ())


def test_after_the_deadline_nothing_is_waited_for():
    """Once the node's time is over, it goes with whatever is on it."""
    assert plan(pod(), deadline=NOW).is_done


def test_a_pod_that_leaves_in_time_is_not_deleted_again():
    """A terminating pod whose end lies before the deadline is left to it."""
    leaving = pod("leaving", deleted=NOW + timedelta(seconds=5), terminationGracePeriodSeconds=60)
    assert plan(leaving, deadline=NOW + timedelta(seconds=10)).delete == ()


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=12))
def test_only_one_group_leaves_at_a_time_and_it_is_the_first(kinds):
    """Whatever pods there are, those evicted are all of one group, the lowest that is left."""
    pods = [
        pod(str(number), daemon=daemon, critical=critical, deleted=NOW if leaving else None)
        for number, (daemon, critical, leaving) in enumerate(kinds)
    ]
    drain = plan(*pods)
    groups = {group_of(one) for one in drain.evict}
    first = min((group_of(one) for one in pods), default=Group.ORDINARY)
    assert groups <= {first}
    assert drain.is_done == (not pods)


def test_a_long_list_of_pods_is_named_shortly():
    """A condition names a few pods and counts the rest."""
    assert describe([pod(str(number)) for number in range(7)]) == (
        "7 pod(s) to leave: ns/0, ns/1, ns/2, ns/3, ns/4 and 2 more"
    )
