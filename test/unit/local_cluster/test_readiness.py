"""What a user reads while he waits for a Workspace."""

from __future__ import annotations

from typing import Any

from local_cluster.readiness import STEPS, awaited, is_ready


def workspace(*, state: str = "Pending", **statuses: str) -> dict[str, Any]:
    conditions = [
        {"type": kind, "status": status, "message": f"message of {kind}"} for kind, status in statuses.items()
    ]
    return {"status": {"state": state, "conditions": conditions}}


def test_without_conditions_the_operator_is_awaited() -> None:
    """Before the operator has written anything, it is the operator that is waited for."""
    assert awaited({"metadata": {"name": "a"}}) == "the operator to see the Workspace"
    assert not is_ready({"metadata": {"name": "a"}})


def test_the_first_condition_that_is_not_true_speaks() -> None:
    """Conditions are read in the order in which they become True, whatever the order in which they are stored."""
    waiting = workspace(WorkspaceSucceeded="False", InferenceReady="False", NodeClaimReady="True", NodesReady="Unknown")
    assert awaited(waiting) == "NodesReady: message of NodesReady"


def test_ready_takes_the_state_and_every_condition() -> None:
    """A state of Ready beside a condition that is no longer True is not ready."""
    everything = dict.fromkeys(STEPS, "True")
    assert is_ready(workspace(state="Ready", **everything))
    assert not is_ready(workspace(state="Ready", **{**everything, "InferenceReady": "False"}))
    assert not is_ready(workspace(state="NotReady", **everything))
