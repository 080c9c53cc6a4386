"""kubectl as a user runs it: its own binary, a kubeconfig, text or JSON back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen


class KubectlError(subprocess.CalledProcessError):
    """kubectl refused; its own message is the message."""

    def __str__(self) -> str:
        return f"kubectl {' '.join(self.cmd[3:])}: {(self.stderr or self.output or '').strip()}"


@frozen(kw_only=True)
class Kubectl:
    """Runs ``binary`` against the cluster of ``kubeconfig``."""

    binary: Path
    kubeconfig: Path

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Return what kubectl printed. Raises KubectlError when it exits non-zero."""
        command = [str(self.binary), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise KubectlError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """``kubectl get … -o json``, decoded."""
        found: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json"))
        return found

    def exists(self, *arguments: str) -> bool:
        """Whether ``kubectl get …`` finds the object."""
        return bool(self.run("get", *arguments, "--ignore-not-found", "-o", "name").strip())

    def server_version(self) -> str:
        """The API server's version, e.g. ``v1.37.2``."""
        version: str = json.loads(self.run("version", "-o", "json"))["serverVersion"]["gitVersion"]
        return version
