"""A Kubernetes control plane out of its real programs, in one folder.

etcd listens on sockets in that folder, which only its owner may enter; the API server on one TCP port with TLS.
Everyone shows a client certificate of the cluster's own authority; users are told apart by RBAC and the Node
authoriser; there is no static token and no anonymous access.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from kaito_controller.providers.local import pki
from kaito_controller.testing import bootstrap
from kaito_controller.testing.ports import free_port, is_free
from kaito_controller.testing.processes import Processes
from kaito_controller.testing.programs import program

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
KWOK = "kwok"

SIMULATED = "kwok.x-k8s.io/node"
"""The annotation of a node that kwok plays, with the value `fake`."""

_ETCD_URL = "unix://etcd.sock:0"
_PEER_URL = "unix://peer.sock:0"
_TRIES_FOR_A_PORT = 5
_LOOPBACK = "127.0.0.1"
_COMPONENT = "component"


class ControlPlaneError(Exception):
    """A component that did not become ready, with the last lines it printed."""


_NO_WAY_TO_PODS: Final = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:1"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost"),
}
"""Simulated pods have addresses of networks that are somebody else's, or nobody's: what asks the API server to speak to
a pod ends at a port of this machine on which nobody listens, and not out there."""


@frozen(kw_only=True)
class Network:
    """What the components are told about addresses.

    `address` is where the API server listens; `names` are further names and addresses in its certificate.
    """

    address: str = "127.0.0.1"
    service_cidr: str = "10.96.0.0/16"
    pod_cidr: str = "10.128.0.0/9"
    domain: str = "cluster.local"
    names: tuple[str, ...] = ()

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the API server, so that it cannot be an endpoint of its own Service."""
        return self.address.startswith("127.")

    @property
    def first_service_address(self) -> str:
        """The ClusterIP of the Service `kubernetes`."""
        head, _, last = self.service_cidr.split("/")[0].rpartition(".")
        return f"{head}.{int(last) + 1}"


@frozen(kw_only=True)
class ControlPlane:
    """The control plane of one folder. `port` 0 takes a free one at each first start and keeps it in the folder.

    `find` says where the program of a name is; `stages` are the files that tell kwok how its nodes and pods behave;
    with `audits` the API server writes who wrote what to `audit.log` in the folder.
    """

    folder: Path
    network: Network = field(factory=Network)
    port: int = 0
    die_with_parent: bool = False
    find: Callable[[str], Path] = program
    stages: tuple[Path, ...] = ()
    audits: bool = False
    processes: Processes = field(init=False)

    @processes.default
    def _processes(self) -> Processes:
        return Processes(self.folder, die_with_parent=self.die_with_parent)

    @property
    def certificates(self) -> Path:
        """The folder of the authority, the certificates it signed and their keys."""
        return self.folder / "pki"

    @property
    def ca(self) -> pki.KeyPair:
        """The authority of the cluster."""
        return pki.KeyPair(certificate=self.certificates / "ca.crt", key=self.certificates / "ca.key")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Where the API server writes who wrote what, one JSON object a line, if it does."""
        return self.folder / "audit.log"

    @property
    def server(self) -> str:
        """The URL of the API server. Raises `ControlPlaneError` before the first start."""
        try:
            return (self.folder / "server").read_text().strip()
        except FileNotFoundError as error:
            raise ControlPlaneError(f"{self.folder}: the API server was never started here: start it first") from error

    def kubectl(self, *arguments: str | Path) -> list[str]:
        """Return the command line of kubectl as the administrator, which keeps its cache in the folder."""
        program_path = str(self.find("kubectl"))
        return [
            program_path,
            f"--kubeconfig={self.kubeconfig}",
            f"--cache-dir={self.folder / 'kubectl'}",
            *map(str, arguments),
        ]

    def start(self, components: Sequence[str] = ()) -> None:
        """Start etcd and the API server, then further components; those that run are left alone.

        Raises `ControlPlaneError` with a component's last words when it does not become ready.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self._make_keys()
        self.start_etcd()
        self.start_api_server()
        self._bootstrap()
        self.start_components(*components)

    def start_etcd(self) -> None:
        """Start etcd on the data of the folder."""
        if not self.processes.get(ETCD):
            # What is kept here is thrown away with the cluster: waiting for the disk buys nothing.
            durable = ["--unsafe-no-fsync", "--quota-backend-bytes=4294967296", "--auto-compaction-retention=5m"]
            urls = {"listen-client": _ETCD_URL, "advertise-client": _ETCD_URL, "listen-peer": _PEER_URL,
                    "initial-advertise-peer": _PEER_URL}  # fmt: skip
            flags = [f"--{name}-urls={url}" for name, url in urls.items()]
            data = ["--name=local", f"--initial-cluster=local={_PEER_URL}", "--data-dir=etcd", "--log-level=warn"]
            self._run(ETCD, [*data, *flags, *durable])
        self._wait(ETCD, (self.folder / "etcd.sock:0").exists, "its socket")

    def start_api_server(self) -> None:
        """Start the API server and wait until it is ready; another free port is tried when somebody took the first."""
        if self.processes.get(API_SERVER):
            self.wait_ready()
            return
        for attempt in range(_TRIES_FOR_A_PORT):
            port = self._choose_port()
            self._write_kubeconfigs(port)
            self._run(API_SERVER, self._api_server_flags(port), _NO_WAY_TO_PODS if self.network.loopback else None)
            try:
                self.wait_ready()
            except ControlPlaneError as error:
                if self.port or "address already in use" not in str(error) or attempt == _TRIES_FOR_A_PORT - 1:
                    raise
                (self.folder / "server").unlink(missing_ok=True)
            else:
                return

    def start_components(self, *names: str) -> None:
        """Start kube-controller-manager, kube-scheduler or kwok side by side; the first two are waited for."""
        unknown = [name for name in names if name not in _COMPONENTS]
        if unknown:
            raise ValueError(f"no component is called {unknown[0]!r}: choose one of {', '.join(_COMPONENTS)}")
        started = [name for name in names if not self.processes.get(name)]
        ports = {name: self._launch(name) for name in started}
        for name in started:
            if name != KWOK:
                self._settle(name, ports[name])

    def stop_component(self, name: str, *, grace_s: float = 5.0) -> None:
        """Stop one component."""
        self.processes.stop(name, grace_s=grace_s)

    def stop(self, *, grace_s: float = 3.0) -> None:
        """Stop all, the API server's clients first, so that none fills its log with complaints."""
        self.processes.stop(KWOK, SCHEDULER, CONTROLLER_MANAGER, grace_s=grace_s)
        self.processes.stop(API_SERVER, grace_s=grace_s)
        self.processes.stop_all(grace_s=grace_s)

    def destroy(self) -> None:
        """Stop all and remove the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_ready(self) -> bool:
        """Return whether the API server says that it is ready."""
        return self._answers(f"{self.server}/readyz")

    def wait_ready(self, timeout_s: float = 90.0) -> None:
        """Wait until the API server is ready; raises `ControlPlaneError` when it ends or time is up."""
        self._wait(API_SERVER, self.is_ready, "/readyz", timeout_s)

    def _launch(self, name: str) -> int:
        port = free_port(_LOOPBACK)
        self._run(name, self._kwok_flags() if name == KWOK else self._component_flags(name, port))
        return port

    def _settle(self, name: str, port: int) -> None:
        for attempt in range(_TRIES_FOR_A_PORT):
            try:
                self._wait(name, partial(self._answers, f"https://{_LOOPBACK}:{port}/healthz"), "/healthz")
            except ControlPlaneError as error:
                if "address already in use" not in str(error) or attempt == _TRIES_FOR_A_PORT - 1:
                    raise
                port = self._launch(name)
            else:
                return

    def wait_storage(self) -> None:
        """Wait until the API server answers a read that goes through to etcd; raises as `wait_ready` does."""
        self._wait(API_SERVER, lambda: self._answers(f"{self.server}/api/v1/namespaces/default"), "a read from etcd")

    def compact(self) -> int:
        """Compact etcd up to its present revision, through its JSON gateway, and return the revision."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "etcd.sock:0"))
            gateway = http.client.HTTPConnection("etcd")
            gateway.sock = connection
            # Any key will do: every answer carries the revision.
            revision = _post(gateway, "/v3/kv/range", {"key": "AA=="})["header"]["revision"]
            _post(gateway, "/v3/kv/compaction", {"revision": revision, "physical": True})
        return int(revision)

    def _bootstrap(self) -> None:
        done = self.folder / "bootstrapped"
        if done.exists():
            return
        documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": bootstrap.objects()})
        command = self.kubectl("apply", "--server-side", "--filename=-")
        applied = subprocess.run(command, input=documents, capture_output=True, text=True, check=False)
        if applied.returncode:
            raise ControlPlaneError(f"the rights of kwok and the API server were refused: {applied.stderr.strip()}")
        done.touch()

    def _answers(self, url: str, timeout_s: float = 5.0) -> bool:
        context = ssl.create_default_context(cafile=self.ca.certificate)
        admin = self.certificates / "admin"
        context.load_cert_chain(admin.with_suffix(".crt"), admin.with_suffix(".key"))
        # The address is one of this machine, whatever proxy the environment names; any answer but 200 raises.
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        try:
            with urllib.request.build_opener(*handlers).open(url, timeout=timeout_s):
                return True
        except OSError:
            return False

    def _wait(self, name: str, ready: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            ended = self.processes.get(name) is None
            if ended or time.monotonic() > deadline:
                happened = "ended" if ended else f"did not answer on {what} within {timeout_s:.0f} s"
                raise ControlPlaneError(f"{name} {happened}; its last words:\n{self.processes.last_words(name)}")
            time.sleep(0.05)

    def _run(self, name: str, flags: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.processes.start(name, [self.find(name), *flags], folder=self.folder, environment=environment)

    def _choose_port(self) -> int:
        if (self.folder / "server").exists():
            return int(self.server.rpartition(":")[2])
        if not self.port:
            return free_port(self.network.address)
        if not is_free(self.network.address, self.port):
            raise ControlPlaneError(
                f"port {self.port} of {self.network.address} is taken: stop what listens there, or choose another port"
            )
        return self.port

    def _make_keys(self) -> None:
        folder = self.certificates
        if (folder / "complete").exists():
            return
        ca = pki.make_ca(folder, "kubernetes")
        pki.make_signing_key(folder)
        domain = self.network.domain
        service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}"]
        names = dict.fromkeys([self.network.address, "127.0.0.1", "localhost", self.network.first_service_address,
                               *service, *self.network.names])  # fmt: skip
        pki.issue_server(ca, folder, API_SERVER, common_name=API_SERVER, names=list(names))
        pki.issue_server(ca, folder, _COMPONENT, common_name=_COMPONENT, names=[_LOOPBACK, "localhost"])
        for stem, user, groups in _CLIENTS:
            pki.issue_client(ca, folder, stem, common_name=user, organizations=groups)
        (folder / "complete").touch()

    def _write_kubeconfigs(self, port: int) -> None:
        server = f"https://{self.network.address}:{port}"
        paths = {name: self._own_kubeconfig(name) for name in _COMPONENTS} | {"admin": self.kubeconfig}
        for stem, path in paths.items():
            folder = self.certificates
            client = pki.KeyPair(certificate=folder / f"{stem}.crt", key=folder / f"{stem}.key")
            pki.write_kubeconfig(path, server=server, ca_certificate=self.ca.certificate, client=client,
                                 cluster=self.folder.name, user=stem)  # fmt: skip
        (self.folder / "server").write_text(server)

    def _own_kubeconfig(self, component: str) -> Path:
        return self.certificates / f"{component}.kubeconfig"

    def _api_server_flags(self, port: int) -> list[str]:
        keys = self.certificates
        flags = {
            "etcd-servers": _ETCD_URL,
            "bind-address": self.network.address,
            "advertise-address": self.network.address,
            "secure-port": port,
            "tls-cert-file": keys / f"{API_SERVER}.crt",
            "tls-private-key-file": keys / f"{API_SERVER}.key",
            "client-ca-file": self.ca.certificate,
            "anonymous-auth": "false",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction,OwnerReferencesPermissionEnforcement",
            "allow-privileged": "true",
            "service-cluster-ip-range": self.network.service_cidr,
            "service-account-issuer": f"https://kubernetes.default.svc.{self.network.domain}",
            "service-account-key-file": keys / "service-account.pub",
            "service-account-signing-key-file": keys / "service-account.key",
            "kubelet-certificate-authority": self.ca.certificate,
            "kubelet-client-certificate": keys / "kubelet-client.crt",
            "kubelet-client-key": keys / "kubelet-client.key",
            "kubelet-preferred-address-types": "InternalIP",
            "endpoint-reconciler-type": "none" if self.network.loopback else "lease",
            "profiling": "false",
            "max-requests-inflight": 2000,
            "max-mutating-requests-inflight": 1000,
        }
        if self.audits:
            policy = self.folder / "audit-policy.json"
            policy.write_text(json.dumps(_AUDIT_POLICY))
            flags |= {
                "audit-policy-file": policy,
                "audit-log-path": self.audit_log,
                "audit-log-mode": "blocking-strict",
            }
        return _flags(flags)

    def _component_flags(self, name: str, port: int) -> list[str]:
        keys = self.certificates
        flags: dict[str, object] = {
            "kubeconfig": self._own_kubeconfig(name),
            "bind-address": _LOOPBACK,
            "secure-port": port,
            "tls-cert-file": keys / f"{_COMPONENT}.crt",
            "tls-private-key-file": keys / f"{_COMPONENT}.key",
            # Each is alone, so there is nobody to elect.
            "leader-elect": "false",
            # The default of 20 requests a second would be what every test of scale measures.
            "kube-api-qps": 1000,
            "kube-api-burst": 2000,
        }
        if name == CONTROLLER_MANAGER:
            flags |= {
                "use-service-account-credentials": "true",
                "service-account-private-key-file": keys / "service-account.key",
                "root-ca-file": self.ca.certificate,
                "cluster-signing-cert-file": self.ca.certificate,
                "cluster-signing-key-file": self.ca.key,
                "service-cluster-ip-range": self.network.service_cidr,
                "cluster-cidr": self.network.pod_cidr,
                "allocate-node-cidrs": "false",
                "concurrent-statefulset-syncs": 20,
                "concurrent-service-endpoint-syncs": 20,
            }
        return _flags(flags)

    def _kwok_flags(self) -> list[str]:
        flags = {
            "kubeconfig": self._own_kubeconfig(KWOK),
            "config": ",".join(map(str, self.stages)),
            # It takes the nodes that say so themselves, beside real ones.
            "manage-all-nodes": "false",
            "manage-nodes-with-annotation-selector": f"{SIMULATED}=fake",
            "node-ip": self.network.address,
            # Nobody routes to simulated pods: the range that is set aside for benchmarks cannot be taken by anybody.
            "cidr": "198.18.0.1/15",
            "node-lease-duration-seconds": 40,
        }
        return _flags(flags)


def _post(gateway: http.client.HTTPConnection, path: str, body: object) -> Any:
    gateway.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = gateway.getresponse()
    text = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise ControlPlaneError(f"etcd refused {path}: {text.decode(errors='replace').strip()}")
    return json.loads(text)


def _flags(values: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "verbs": ["get", "list", "watch"]}, {"level": "Metadata"}],
}

_COMPONENTS = (CONTROLLER_MANAGER, SCHEDULER, KWOK)

# Certificate file, user, groups. The names are those that the bootstrap RBAC policy of Kubernetes binds.
_CLIENTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("admin", "kubernetes-admin", ("system:masters",)),
    (CONTROLLER_MANAGER, "system:kube-controller-manager", ()),
    (SCHEDULER, "system:kube-scheduler", ()),
    (KWOK, bootstrap.KWOK_USER, ()),
    ("kubelet-client", bootstrap.KUBELET_CLIENT_USER, ()),
)
