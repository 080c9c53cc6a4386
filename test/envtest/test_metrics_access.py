"""The operator's own servers under real rights: who may read /metrics, and that probes ask nobody for a token."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from kaito_controller.testing.apiserver import APIServer, KubectlError
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "kaito-system"
NO_CHECK = ssl._create_unverified_context()  # noqa: S323 - it made its certificate itself


@frozen(kw_only=True)
class Running:
    """An operator process and its two ports."""

    process: subprocess.Popen[bytes]
    metrics: int
    probes: int
    log: Path

    def scrape(self, token: str = "", *, scheme: str = "https") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return answer(f"{scheme}://127.0.0.1:{self.metrics}/metrics", headers)

    def probe(self, path: str) -> tuple[int, str]:
        return answer(f"http://127.0.0.1:{self.probes}{path}", {})


def answer(url: str, headers: dict[str, str]) -> tuple[int, str]:
    request = urllib.request.Request(url, headers=headers)
    context = NO_CHECK if url.startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=15, context=context) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def operator(apiserver: APIServer, tmp_path: Path) -> Iterator[Running]:
    """The operator as config/manager runs it, with the rights of config/rbac and no other."""
    apiserver.kubectl("apply", "--server-side", "-k", str(ROOT / "config" / "rbac"))
    metrics, probes, log = free_port(), free_port(), tmp_path / "operator.log"
    command = [
        *(sys.executable, "-m", "kaito_controller", "run", "--node-provisioner", "byo"),
        *("--kubeconfig", str(apiserver.kubeconfig_of("kaito-controller", SYSTEM, tmp_path))),
        *("--leader-elect", "--leader-election-namespace", SYSTEM, "--metrics-secure"),
        *("--metrics-bind-address", f"127.0.0.1:{metrics}"),
        *("--health-probe-bind-address", f"127.0.0.1:{probes}"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=output)
    it = Running(process=process, metrics=metrics, probes=probes, log=log)
    try:
        eventually("the operator is ready", lambda: is_ready(it))
        yield it
    finally:
        process.kill()
        process.wait()


def is_ready(it: Running) -> bool:
    if it.process.poll() is not None:
        raise AssertionError(it.log.read_text())
    try:
        return it.probe("/readyz")[0] == 200
    except OSError:
        return False


@pytest.mark.scenario("MG5", "MG6")
def test_metrics_are_for_those_whom_rbac_lets_read_them(apiserver: APIServer, operator: Running) -> None:
    """401 without a known token, 403 without the right, 200 with the generated role; probes are open; SIGTERM ends it.

    Tokens and answers are those of a real API server; the operator asks it with the rights of its own ServiceAccount.
    """
    apiserver.create_namespace("monitoring")
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "prometheus"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kaito-metrics-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}],
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "prometheus", "namespace": "monitoring"},
    }
    apiserver.apply(account, binding)
    assert operator.scrape() == (401, "Unauthorized\n")
    assert operator.scrape("not-a-token") == (401, "Unauthorized\n")
    assert operator.scrape(apiserver.token_of("default", "monitoring")) == (
        403,
        "Authorization denied for user system:serviceaccount:monitoring:default\n",
    )
    status, text = operator.scrape(apiserver.token_of("prometheus", "monitoring"))
    assert status == 200
    assert 'leader_election_master_status{name="kaito-controller-workspace"} 1.0' in text
    assert "certwatcher_read_certificate_total" in text
    with pytest.raises(OSError, match=r"Remote end closed|reset"):
        operator.scrape(scheme="http")
    assert operator.probe("/healthz") == (200, "ok")
    assert operator.probe("/healthz?verbose")[1] == "[+]leader-election ok\nhealthz check passed\n"
    assert operator.probe("/readyz/caches") == (200, "ok")
    operator.process.send_signal(signal.SIGTERM)
    assert operator.process.wait(30) == 0
    lease = apiserver.get("lease", "kaito-controller-workspace", f"--namespace={SYSTEM}")
    assert lease["spec"].get("holderIdentity", "") == ""


@pytest.mark.scenario("EV7")
def test_the_generated_role_lets_events_be_written_and_no_more(apiserver: APIServer) -> None:
    """Create and patch, in every namespace; the operator never reads or deletes events."""
    apiserver.kubectl("apply", "--server-side", "-k", str(ROOT / "config" / "rbac"))
    account = f"--as=system:serviceaccount:{SYSTEM}:kaito-controller"
    allowed = {
        verb
        for verb in ("create", "patch", "update", "get", "list", "watch", "delete")
        if may(apiserver, verb, "events.events.k8s.io", account)
    }
    assert allowed == {"create", "patch"}


def may(server: APIServer, verb: str, resource: str, account: str) -> bool:
    try:
        return server.kubectl("auth", "can-i", verb, resource, account, "--all-namespaces").strip() == "yes"
    except KubectlError:
        return False
