"""What a benchmark of the whole operator runs on: a real control plane, and kwok in the place of kubelets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from local_cluster.kubectl import Kubectl
from local_cluster.operator_process import Operator

from kaito_controller.testing.apiserver import serving

COMPONENTS = ("kube-controller-manager", "kube-scheduler", "kwok")


@frozen(kw_only=True)
class SimulatedCluster:
    """A control plane in a temporary folder."""

    folder: Path
    kubectl: Kubectl

    def operator(self, python: Path, *arguments: str) -> Operator:
        """The operator as it is run in this cluster, by that interpreter and with these flags; not started yet."""
        return Operator(state=self.folder, kubectl=self.kubectl, python=python, arguments=arguments)


@contextmanager
def simulated_cluster() -> Iterator[SimulatedCluster]:
    """Run a cluster for as long as the context lasts; nothing is left behind, the operator neither."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), components=COMPONENTS) as server:
        kubectl = Kubectl(binary=server.kubectl_program, kubeconfig=server.kubeconfig)
        yield SimulatedCluster(folder=Path(folder), kubectl=kubectl)


@contextmanager
def running(operator: Operator) -> Iterator[None]:
    """Run the operator for as long as the context lasts."""
    operator.ensure()
    try:
        yield
    finally:
        operator.stop()
