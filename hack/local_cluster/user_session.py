"""A user at a shell, at the root of the checkout, after `hack/quickstart`: what the end-to-end tests type with."""

from __future__ import annotations

import subprocess
from typing import Any

from attrs import frozen

from local_cluster.folders import REPOSITORY
from local_cluster.kubectl import Kubectl


@frozen(kw_only=True)
class UserSession:
    """A user after the quick start: its summary, what it printed, and the environment that finds its cluster."""

    summary: dict[str, Any]
    printed: str
    environment: dict[str, str]
    kubectl: Kubectl

    def shell(self, command: str, *, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run one line as a user would type it at the root of the checkout."""
        return subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", command],
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
