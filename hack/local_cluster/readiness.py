"""Waits for a Workspace to be READY and says at every moment what it waits for, in the words of its conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_cluster.kubectl import Kubectl
from local_cluster.phases import Phases

POLL_INTERVAL_S = 0.5
STEPS = ("NodeClaimReady", "NodesReady", "ResourceReady", "InferenceReady", "WorkspaceSucceeded")
"""The order in which a Workspace's conditions become True: the first that is not says what is awaited."""


def condition(workspace: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """The condition of that type, or None before the operator has written it."""
    conditions = workspace.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), None)


def awaited(workspace: dict[str, Any]) -> str:
    """What the Workspace waits for, in one line; empty when it waits for nothing."""
    if not workspace.get("status", {}).get("conditions"):
        return "the operator to see the Workspace"
    for kind in STEPS:
        found = condition(workspace, kind)
        if found is not None and found["status"] != "True":
            return f"{kind}: {found['message']}"
    return ""


def is_ready(workspace: dict[str, Any]) -> bool:
    """Whether the operator says that this very generation serves."""
    status = workspace.get("status", {})
    return status.get("state") == "Ready" and not awaited(workspace)


def wait_until_ready(
    kubectl: Kubectl, manifest: Path, phases: Phases, *, still_runs: Callable[[], None], timeout_s: float
) -> dict[str, Any]:
    """Poll the Workspace of ``manifest`` until it is Ready and return it.

    ``still_runs`` raises when waiting has become pointless. Raises TimeoutError, which names what was awaited, after
    ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        workspace = kubectl.get("-f", str(manifest))
        if is_ready(workspace):
            return workspace
        still_runs()
        phases.waits_for(awaited(workspace))
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"the Workspace was not Ready after {timeout_s:.0f} s; it waits for {awaited(workspace)}"
            )
        time.sleep(POLL_INTERVAL_S)
