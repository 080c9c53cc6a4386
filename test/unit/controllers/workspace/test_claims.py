"""Which NodeClaims are missing and which are too many."""

from __future__ import annotations

import pytest

from kaito_controller.controllers.workspace import claims
from kaito_controller.testing.builders import INSTANCE_TYPE, node_claim


def name_of(index: int) -> str:
    """Return the name of an index, as the workload builder would."""
    return f"ws{index}"


def changes(found, wanted, in_use=()):
    """Return the changes as indexes to create and names to delete."""
    made = claims.changes(
        found, wanted=wanted, instance_type=INSTANCE_TYPE, name_of=name_of, nodes_in_use=frozenset(in_use)
    )
    return list(made.create), [claim["metadata"]["name"] for claim in made.delete]


MULTIPLE = {"Registered": ("False", "MultipleNodesFound", "two nodes")}


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        pytest.param([], 2, ([0, 1], []), id="none are there"),
        pytest.param([node_claim("ws0"), node_claim("ws1")], 2, ([], []), id="as many as wanted"),
        pytest.param([node_claim("ws0", deleting=True)], 1, ([1], []), id="a deleting one is replaced by the next"),
        pytest.param([node_claim("ws1")], 2, ([0], []), id="a free index is used again"),
        pytest.param([node_claim("ws0", stages=MULTIPLE)], 1, ([1], ["ws0"]), id="a failed one is replaced"),
        pytest.param([node_claim("ws0", instance_type="other")], 1, ([1], ["ws0"]), id="of another type"),
        pytest.param([node_claim("ws9f8e7d6c5")], 1, ([], []), id="one that upstream made counts"),
        pytest.param(
            [node_claim("ws0", node_name="a"), node_claim("ws1")], 1, ([], ["ws1"]), id="the unready surplus goes"
        ),
        pytest.param(
            [
                node_claim("ws0", node_name="a", created="2026-11-22T12:00:00Z"),
                node_claim("ws1", node_name="b", created="2026-11-22T13:00:00Z"),
            ],
            1,
            ([], ["ws1"]),
            id="of ready ones the newest goes",
        ),
        pytest.param(
            [node_claim("ws0", deleting=True), node_claim("ws1")], 1, ([], []), id="deleting ones are not counted twice"
        ),
    ],
)
def test_changes(found, wanted, expected):
    """What is there and what is wanted decide what to create and delete."""
    assert expected == changes(found, wanted)


def test_a_node_in_use_is_not_surplus():
    """A claim whose node runs a pod stays until the workload has shrunk."""
    found = [node_claim("ws0", node_name="a"), node_claim("ws1", node_name="b")]
    assert ([], ["ws0"]) == changes(found, 1, in_use=["b"])
    assert ([], []) == changes(found, 1, in_use=["a", "b"])


def test_the_first_stage_not_passed_is_told():
    """The reason is that of the first stage, of the claim that says most."""
    quiet = node_claim("ws0")
    loud = node_claim(
        "ws1",
        stages={
            "Launched": ("True", "Launched", ""),
            "Registered": ("Unknown", "NodeNotFound", "no Node has joined yet"),
        },
    )
    assert ("NodeNotFound", "NodeClaim ws1: no Node has joined yet") == claims.obstacle([quiet, loud])
    assert "AwaitingReconciliation" == claims.obstacle([quiet])[0]
    assert claims.obstacle([]) is None


def test_a_claim_without_conditions_is_ready_once_it_names_a_node():
    """Provisioners that report no Ready condition count by the node's name."""
    assert claims.is_ready(node_claim("ws0", node_name="a", stages={}))
    assert not claims.is_ready(node_claim("ws0", stages={}))
    assert not claims.is_ready(node_claim("ws0", node_name="a", deleting=True))
