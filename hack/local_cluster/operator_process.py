"""The operator as a process of this machine: under the ServiceAccount of `config/rbac`, stopped with its cluster."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from kaito_controller.providers.local.addresses import ALL_PLANS
from kaito_controller.testing.ports import free_port
from kaito_controller.testing.processes import Processes
from local_cluster.folders import REPOSITORY
from local_cluster.kubectl import Kubectl

NAME = "operator"
NAMESPACE = "kaito-system"
SERVICE_ACCOUNT = "kaito-controller"
NODE_CLAIM_CRD = "nodeclaims.karpenter.sh"
TOKEN_LIFE = "720h"  # noqa: S105 - how long a token lives
READY_TIMEOUT_S = 30.0


class OperatorError(Exception):
    """The operator did not start; the message holds its last words."""


@frozen(kw_only=True)
class Operator:
    """How the operator of one cluster is run: its interpreter, flags and variables, and the cluster's state folder."""

    state: Path
    kubectl: Kubectl
    python: Path
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(factory=dict)

    def ensure(self) -> None:
        """Install the API and the rights, and start the operator unless it runs with these very flags.

        Raises OperatorError when it does not become ready.
        """
        self.install()
        processes = Processes(self.state)
        record = self.state / "operator.json"
        environment = {**self.environment, "PYTHONPATH": str(REPOSITORY)}
        wanted = json.dumps({"python": str(self.python), "arguments": self.arguments, "environment": environment})
        if processes.get(NAME) is not None and record.exists():
            running = json.loads(record.read_text())
            if running["command"] == wanted:
                self._wait_ready(processes, running["health_port"])
                return
            processes.stop(NAME)
        health, metrics = free_port(), free_port()
        command = [
            str(self.python), "-m", "kaito_controller", "run",
            "--kubeconfig", str(self._write_kubeconfig()),
            "--health-probe-bind-address", f"127.0.0.1:{health}",
            "--metrics-bind-address", f"127.0.0.1:{metrics}",
            "--leader-elect", "--leader-election-namespace", NAMESPACE,
            *self.arguments,
        ]  # fmt: skip
        processes.start(NAME, command, folder=self.state, environment=environment)
        record.write_text(json.dumps({"command": wanted, "health_port": health, "metrics_port": metrics}))
        self._wait_ready(processes, health)

    def stop(self) -> None:
        """Stop the operator; returns when it has ended."""
        Processes(self.state).stop(NAME)

    def require_running(self) -> None:
        """Raise OperatorError, with its last words, when the operator has ended."""
        processes = Processes(self.state)
        if processes.get(NAME) is None:
            raise OperatorError(f"the operator has ended; its last words:\n{processes.last_words(NAME)}")

    def install(self) -> None:
        """Apply CRDs, rights and admission policies; a NodeClaim CRD that a Karpenter brought is left alone."""
        crds = REPOSITORY / "config" / "crd"
        for path in sorted(crds.glob("*.yaml")):
            theirs = path.name.startswith("karpenter.sh") and self.kubectl.exists("crd", NODE_CLAIM_CRD)
            if path.name != "kustomization.yaml" and not theirs:
                self.kubectl.run("apply", "--server-side", "-f", str(path))
                self.kubectl.run("wait", "--for=condition=Established", "--timeout=30s", "-f", str(path))
        for folder in ("rbac", "admission"):
            self.kubectl.run("apply", "--server-side", "-k", str(REPOSITORY / "config" / folder))

    def _write_kubeconfig(self) -> Path:
        """The administrator's view of the cluster with a token of the ServiceAccount instead of his own rights."""
        token = self.kubectl.run(
            "create", "token", SERVICE_ACCOUNT, "--namespace", NAMESPACE, f"--duration={TOKEN_LIFE}"
        ).strip()
        view = json.loads(self.kubectl.run("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
        view["users"] = [{"name": SERVICE_ACCOUNT, "user": {"token": token}}]
        view["contexts"] = [
            {"name": SERVICE_ACCOUNT, "context": {"cluster": view["clusters"][0]["name"], "user": SERVICE_ACCOUNT}}
        ]
        view["current-context"] = SERVICE_ACCOUNT
        path = self.state / "operator.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(view))
        return path

    def _wait_ready(self, processes: Processes, port: int) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _answers(f"http://127.0.0.1:{port}/readyz"):
            if processes.get(NAME) is None or time.monotonic() > deadline:
                raise OperatorError(f"the operator is not ready; its last words:\n{processes.last_words(NAME)}")
            time.sleep(0.1)


def local_arguments(state: Path, *, inference_python: Path, models: Path) -> tuple[str, ...]:
    """The flags that make this machine the cloud and its own Python environment the inference runtime."""
    environment = inference_python.parents[1]
    parameters = {
        "interpreter": _prefix_of(environment),
        "environment": environment,
        "source": REPOSITORY,
        "models": models,
    }
    return (
        "--controllers", "workspace,nodeclaim",
        "--provider", "local", "--local-cluster", str(state / "cluster.json"),
        "--inference-runtime", "vllm-cpu-host",
        "--weights-cache", f"hostPath:{_weights_folder(state)}",
        *(f"--runtime-parameter={key}={value}" for key, value in parameters.items()),
        # What runs in the cluster may fetch from what else runs there.
        "--allow-private-urls", ALL_PLANS,
    )  # fmt: skip


def _weights_folder(state: Path) -> Path:
    """Where pods keep the models that they fetch: they run as a user of their own, and share it with one another."""
    folder = state / "weights"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    return folder


def _prefix_of(environment: Path) -> Path:
    """The prefix of the Python installation that a virtual environment was made from (its pyvenv.cfg says)."""
    for line in (environment / "pyvenv.cfg").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home":
            return Path(value.strip()).resolve().parent
    raise OperatorError(f"{environment}/pyvenv.cfg names no home: remove the environment, it is made anew")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)  # noqa: PLR2004 - OK
    except (urllib.error.URLError, OSError):
        return False
