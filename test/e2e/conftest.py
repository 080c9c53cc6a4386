"""One cluster for all end-to-end tests: the one that `hack/quickstart` leaves, in a state folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_cluster.folders import REPOSITORY
from local_cluster.kubectl import Kubectl
from local_cluster.user_session import UserSession

from kaito_controller.testing.machine import MachineState

QUICKSTART_TIMEOUT_S = 45 * 60
TEST_TIMEOUT_S = 50 * 60
"""Of one test with its fixtures: the first one waits for the quick start."""

TAKES_IT_DOWN = Path(__file__).with_name("test_readme.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))
    # The README's last command takes the cluster down: whatever else wants it comes before.
    items.sort(key=lambda item: item.path == TAKES_IT_DOWN)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The user's environment, but with a state folder that no other cluster uses."""
    return {**os.environ, "KAITO_STATE": str(tmp_path_factory.mktemp("state"))}


@pytest.fixture(scope="session")
def machine_before() -> MachineState:
    """The machine before the cluster."""
    return MachineState.read()


@pytest.fixture(scope="session")
def quickstart(
    machine_before: MachineState, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UserSession]:
    """The README's first command, with a summary; the cluster goes when the session ends, whatever happened."""
    if os.geteuid() != 0:
        pytest.skip("real nodes need root: run hack/test e2e as root")
    summary = tmp_path_factory.mktemp("summary") / "summary.json"
    try:
        done = subprocess.run(
            ["hack/quickstart", "--summary", str(summary)],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=QUICKSTART_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + operator_log(environment)
        found = json.loads(summary.read_text())
        yield UserSession(
            summary=found,
            printed=done.stdout,
            environment=environment,
            kubectl=Kubectl(binary=Path(found["kubectl"]), kubeconfig=Path(found["kubeconfig"])),
        )
    finally:
        subprocess.run(["hack/cluster", "down"], cwd=REPOSITORY, env=environment, check=True)


def operator_log(environment: dict[str, str]) -> str:
    """The end of the operator's log, for the message of a failed set-up."""
    done = subprocess.run(
        ["hack/cluster", "logs", "operator"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return "\n--- operator ---\n" + done.stdout[-6000:]
