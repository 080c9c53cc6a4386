"""A real API server for tests: etcd and kube-apiserver in a temporary folder, more components on request."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from kaito_controller.testing.control_plane import API_SERVER, ETCD, ControlPlane

REPOSITORY = Path(__file__).resolve().parents[2]


class KubectlError(Exception):
    """kubectl said no; the message is what it printed."""


@frozen(kw_only=True)
class APIServer:
    """A running API server, and what a test does with it."""

    control_plane: ControlPlane

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.control_plane.kubeconfig

    @property
    def url(self) -> str:
        """Where the API server listens, such as https://127.0.0.1:40001."""
        return self.control_plane.server

    @property
    def kubectl_program(self) -> Path:
        """The path of kubectl."""
        return self.control_plane.find("kubectl")

    def kubectl(self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 60.0) -> str:
        """Run kubectl as the administrator and return what it printed; raises `KubectlError` when it fails."""
        command = self.control_plane.kubectl(*arguments)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def token_of(self, account: str, namespace: str) -> str:
        """Return a token of a ServiceAccount."""
        return self.kubectl("create", "token", account, "--namespace", namespace).strip()

    def kubeconfig_of(self, account: str, namespace: str, folder: Path) -> Path:
        """Write a kubeconfig with the token of a ServiceAccount and nothing of the administrator's; return its path."""
        view = json.loads(self.kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=json"))
        view["users"] = [{"name": account, "user": {"token": self.token_of(account, namespace)}}]
        view["contexts"] = [{"name": account, "context": {"cluster": view["clusters"][0]["name"], "user": account}}]
        view["current-context"] = account
        path = folder / f"{account}.kubeconfig"
        path.write_text(json.dumps(view))
        return path

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get ARGUMENTS` finds, decoded."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *documents: object) -> str:
        """Apply decoded objects with kubectl."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        return self.kubectl("apply", "--server-side", "--filename=-", stdin=json.dumps(listed))

    def restart_apiserver(self, *, kill: bool = False) -> None:
        """Stop the API server (with `kill`: by SIGKILL) and start it again on its port; returns when it is ready."""
        self.stop_apiserver(kill=kill)
        self.start_apiserver()

    def stop_apiserver(self, *, kill: bool = False) -> None:
        """Stop the API server."""
        self.control_plane.stop_component(API_SERVER, grace_s=0.0 if kill else 5.0)

    def start_apiserver(self) -> None:
        """Start the API server again on its port; returns when it is ready."""
        self.control_plane.start_api_server()

    def stop_etcd(self) -> None:
        """Stop etcd; the API server stays up and fails requests."""
        # While the API server holds on to its streams etcd would wait for them without end.
        self.control_plane.stop_component(ETCD, grace_s=0.2)

    def start_etcd(self) -> None:
        """Start etcd again on its data; returns when the API server is ready and reads from it."""
        self.control_plane.start_etcd()
        self.control_plane.wait_ready()
        self.control_plane.wait_storage()

    def compact_etcd(self) -> int:
        """Have etcd forget every revision before the present one, and return that.

        A watch cache that was filled before keeps its own history; restart the API server to empty it.
        """
        return self.control_plane.compact()

    def start(self, *components: str) -> None:
        """Start kube-controller-manager, kube-scheduler or kwok beside it."""
        self.control_plane.start_components(*components)

    def stop(self, *components: str) -> None:
        """Stop components that `start` started."""
        for component in components:
            self.control_plane.stop_component(component)

    def log(self, component: str) -> str:
        """Return what a component printed."""
        return self.control_plane.processes.log(component).read_text(errors="replace")

    def writes(self) -> list[Any]:
        """The writes on record, in the order in which they were answered, as audit events."""
        return [json.loads(line) for line in self.control_plane.audit_log.read_text().splitlines()]

    def install_crds(self, folder: Path = REPOSITORY / "config" / "crd") -> None:
        """Install the custom resource definitions of a folder, when there are any, and wait until they are served."""
        files = sorted(folder.glob("*.yaml"))
        if files:
            names = [f"--filename={path}" for path in files if path.name != "kustomization.yaml"]
            self.kubectl("apply", "--server-side", *names)
            self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)

    def create_namespace(self, name: str) -> str:
        """Create a namespace with the service account that its pods need, and return its name."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, account)
        return name


@contextmanager
def serving(
    folder: Path, *, components: Sequence[str] = (), crds: Path | None = None, audits: bool = False
) -> Iterator[APIServer]:
    """Run an API server in a folder for as long as the context lasts, with our resource definitions installed.

    `components` are those of kube-controller-manager, kube-scheduler and kwok to start as well; `crds` is another
    folder of definitions to install; with `audits` every write is on record (`APIServer.writes`). Nothing is left
    behind, whatever happens: when this process dies, they die.
    """
    stages = tuple(sorted((REPOSITORY / "hack" / "local_cluster" / "kwok").glob("*.yaml")))
    server = APIServer(control_plane=ControlPlane(folder=folder, die_with_parent=True, stages=stages, audits=audits))
    try:
        server.control_plane.start(components)
        server.install_crds(*([crds] if crds else []))
        yield server
    finally:
        server.control_plane.destroy()
