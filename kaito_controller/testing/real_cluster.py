"""A cluster with real nodes as hack/cluster makes it, for tests of what only such nodes can show."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen

from kaito_controller.providers.local.cluster import LocalCluster
from kaito_controller.providers.local.machines import Machines
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.programs import program

REPOSITORY = Path(__file__).resolve().parents[2]


def hack_cluster(state: Path, command: str, *arguments: str) -> str:
    """Run hack/cluster on a state folder of the test's own."""
    done = subprocess.run(
        [REPOSITORY / "hack" / "cluster", command, *arguments],
        env={**os.environ, "KAITO_STATE": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"hack/cluster {command}: {done.stderr}"
    return done.stdout


@frozen(kw_only=True)
class RealCluster:
    """A cluster with real nodes, and kubectl for it."""

    folder: Path

    @property
    def document(self) -> Path:
        """Its cluster.json."""
        return self.folder / "cluster.json"

    @property
    def local(self) -> LocalCluster:
        """What its cluster.json says."""
        return LocalCluster.load(self.document)

    @property
    def machines(self) -> Machines:
        """Its nodes as machines."""
        return Machines(cluster=self.local)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Return what kubectl prints as the administrator."""
        command = [str(program("kubectl")), f"--kubeconfig={self.folder / 'kubeconfig'}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object, or an empty one when there is none."""
        found = self.kubectl("get", *arguments, "--ignore-not-found", "--output=json")
        return dict(json.loads(found)) if found else {}

    def is_ready(self, node: str) -> bool:
        """Whether the node is there and Ready."""
        conditions = self.get("node", node).get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def wait_ready(self, node: str) -> None:
        """Wait until the node is Ready."""
        eventually(f"node {node} is Ready", lambda: self.is_ready(node), timeout_s=60)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects as the administrator."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(document))
