"""Every flag of ``kaito-controller run``, read once into one frozen value; nothing else reads flags.

Upstream's flags keep their names, so a Deployment written for it starts this operator. A combination that cannot work
is refused here, in one line that names the flag, what was found and what to do.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn, TypeVar

from attrs import field, frozen

from kaito_controller.machinery.log import FORMATS as LOG_FORMATS
from kaito_controller.providers.registry import PROVIDERS
from kaito_controller.workloads.weights import KAITO_FOLDER
from kaito_controller.workloads.weights_cache import WeightsCache

CONTROLLER_NAMES: Final = ("workspace", "nodeclaim")
NODE_IMAGE_FAMILIES: Final = ("ubuntu", "azurelinux")

# Upstream's gates, each with the one value that is true of this operator; None where either is taken. Upstream's
# chart turns enableInferenceSetController on, so that is no reason not to start. Unknown gates fail, as upstream's do.
GATES: Final[Mapping[str, bool | None]] = MappingProxyType(
    {
        "vLLM": True,
        "enableInferenceSetController": None,
        "disableNodeAutoProvisioning": None,
        "gatewayAPIInferenceExtension": False,
        "enableMIG": False,
        "enableAccelerator": False,
        "enableMultiRoleInferenceController": False,
        "ModelMirror": False,
        "ModelStreaming": False,
        "enableBaseImageAutoUpgrade": False,
    }
)


class OptionsError(ValueError):
    """A flag or a combination of flags that cannot work; the message is one line that teaches."""


class NodeProvisioner(StrEnum):
    """Who makes nodes for a Workspace that names an instance type."""

    NODE_CLAIM = "nodeclaim"
    BYO = "byo"


@frozen
class Address:
    """Where a server listens. An empty host is every address; port 0 in a disabled address means no server."""

    host: str
    port: int
    enabled: bool = True


@frozen(kw_only=True)
class Options:
    """What the operator was asked to be."""

    kubeconfig: Path | None = None
    controllers: tuple[str, ...] = ("workspace",)
    provider: str = ""
    node_provisioner: NodeProvisioner = NodeProvisioner.NODE_CLAIM
    leader_elect: bool = False
    leader_election_namespace: str = ""
    metrics: Address = Address("", 8080)
    metrics_secure: bool = False
    metrics_certificate: Path | None = None
    metrics_key: Path | None = None
    health: Address = Address("", 8081)
    kube_client_qps: float = 0.0
    kube_client_burst: int = 0
    feature_gates: Mapping[str, bool] = field(factory=dict)
    node_image_family: str = "ubuntu"
    runtime: str = "vllm-cuda"
    runtime_parameters: Mapping[str, str] = field(factory=dict)
    private_urls: tuple[str, ...] = ()
    prices: Path | None = None
    weights_cache: WeightsCache = field(factory=WeightsCache)
    weights_node_folders: tuple[str, ...] = (KAITO_FOLDER,)
    local_cluster: Path | None = None
    local_max_nodes: int | None = None
    log_format: str = "json"

    @property
    def provider_options(self) -> Mapping[str, str]:
        """The chosen provider's own flags, without the provider's name and the dashes."""
        if self.provider != "local":
            return {}
        given = {"cluster": self.local_cluster, "max-nodes": self.local_max_nodes}
        return {name: str(value) for name, value in given.items() if value is not None}


def parse(arguments: Sequence[str], *, prog: str = "kaito-controller run") -> Options:
    """Read the flags after ``run``. Raises `OptionsError`; ``--help`` prints and leaves with exit code 0."""
    parsed = parser(prog).parse_args(list(arguments))
    provisioner = _provisioner(parsed.node_provisioner)
    gates = _gates(parsed.feature_gates)
    if gates.get("disableNodeAutoProvisioning"):
        if parsed.node_provisioner is not None and provisioner is not NodeProvisioner.BYO:
            raise OptionsError(
                f"--feature-gates: disableNodeAutoProvisioning=true contradicts --node-provisioner "
                f"{parsed.node_provisioner}; keep one of them (--node-provisioner byo says the same)."
            )
        provisioner = NodeProvisioner.BYO
    options = Options(
        kubeconfig=parsed.kubeconfig,
        controllers=_controllers(parsed.controllers, parsed.provider),
        provider=parsed.provider,
        node_provisioner=provisioner,
        leader_elect=parsed.leader_elect,
        leader_election_namespace=parsed.leader_election_namespace,
        metrics=_address("--metrics-bind-address", parsed.metrics_bind_address),
        metrics_secure=parsed.metrics_secure,
        metrics_certificate=_certificate(parsed.metrics_cert_path, parsed.metrics_cert_name),
        metrics_key=_certificate(parsed.metrics_cert_path, parsed.metrics_cert_key),
        health=_address("--health-probe-bind-address", parsed.health_probe_bind_address),
        kube_client_qps=_not_negative("--kube-client-qps", parsed.kube_client_qps),
        kube_client_burst=_not_negative("--kube-client-burst", parsed.kube_client_burst),
        feature_gates=gates,
        node_image_family=_choice(
            "--default-node-image-family",
            parsed.default_node_image_family.strip().lower() or "ubuntu",
            NODE_IMAGE_FAMILIES,
        ),
        runtime=parsed.inference_runtime,
        runtime_parameters=_pairs("--runtime-parameter", parsed.runtime_parameter),
        private_urls=_networks("--allow-private-urls", parsed.allow_private_urls),
        prices=parsed.prices,
        weights_cache=_weights_cache(parsed.weights_cache),
        weights_node_folders=_node_folders(parsed.weights_node_folder),
        local_cluster=parsed.local_cluster,
        local_max_nodes=parsed.local_max_nodes,
        log_format=_choice("--log-format", parsed.log_format, LOG_FORMATS),
    )
    _refuse_what_cannot_work(options)
    return options


def _refuse_what_cannot_work(options: Options) -> None:
    """Raise on combinations of flags that are each right alone."""
    if options.provider:
        _choice("--provider", options.provider, tuple(PROVIDERS))
    if "nodeclaim" in options.controllers and not options.provider:
        raise OptionsError(
            "--controllers: nodeclaim needs a cloud to make nodes in; name one with --provider "
            f"({', '.join(sorted(PROVIDERS))}), or leave nodeclaim out where another provisioner serves NodeClaims."
        )
    if options.provider == "local" and options.local_cluster is None:
        raise OptionsError(
            "--provider local: needs --local-cluster FILE, the cluster.json that hack/cluster up wrote; "
            "see hack/cluster status."
        )
    if options.local_cluster is not None and options.provider != "local":
        raise OptionsError(
            f"--local-cluster: only --provider local reads it, found --provider {options.provider or '(none)'}; "
            "leave one of them out."
        )
    if options.metrics_certificate is not None and not options.metrics_secure:
        raise OptionsError(
            "--metrics-cert-path: plain HTTP needs no certificate; add --metrics-secure, or leave it out."
        )


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise OptionsError(f"{message} (see {self.prog} --help)")


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of ``kaito-controller run``."""
    made = _Parser(prog=prog, description="Run the operator's controllers until SIGTERM.", allow_abbrev=False)
    _add_cluster_flags(made)
    _add_workspace_flags(made)
    _add_metrics_flags(made)
    made.add_argument("--health-probe-bind-address", default=":8081", metavar="HOST:PORT", help="0 turns probes off")
    made.add_argument("--log-format", default="json", metavar="|".join(LOG_FORMATS))
    return made


def _add_cluster_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: in-cluster, else $KUBECONFIG")
    made.add_argument(
        "--controllers",
        metavar="NAME,…",
        help="which controllers run: workspace, nodeclaim (default: both, or workspace alone without --provider)",
    )
    made.add_argument("--provider", default="", metavar="NAME", help=f"the cloud: {', '.join(sorted(PROVIDERS))}")
    made.add_argument("--leader-elect", nargs="?", const=True, default=False, type=_boolean, metavar="true|false")
    made.add_argument("--leader-election-namespace", default="", metavar="NS", help="default: the pod's namespace")
    made.add_argument("--kube-client-qps", type=float, default=0.0, metavar="N", help="0 (default): the server limits")
    made.add_argument("--kube-client-burst", type=int, default=0, metavar="N")
    made.add_argument("--local-cluster", type=Path, metavar="FILE", help="cluster.json, for --provider local")
    made.add_argument(
        "--local-max-nodes", type=int, metavar="N", help="for --provider local; default: the cluster's own"
    )


def _add_metrics_flags(made: argparse.ArgumentParser) -> None:
    """The flags that kubebuilder's projects have, under their names."""
    made.add_argument("--metrics-bind-address", default=":8080", metavar="HOST:PORT", help="0 turns metrics off")
    made.add_argument(
        "--metrics-secure",
        nargs="?",
        const=True,
        default=False,
        type=_boolean,
        metavar="true|false",
        help="serve metrics over HTTPS, to those whom RBAC lets get /metrics (default: false)",
    )
    made.add_argument(
        "--metrics-cert-path",
        type=Path,
        metavar="DIRECTORY",
        help="certificate and key of the metrics server, read again when they change (default: makes its own)",
    )
    made.add_argument("--metrics-cert-name", default="tls.crt", metavar="FILE", help="the certificate there")
    made.add_argument("--metrics-cert-key", default="tls.key", metavar="FILE", help="the key there")


def _add_workspace_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--node-provisioner",
        metavar="nodeclaim|azure-gpu-provisioner|byo",
        help="who makes nodes (azure-gpu-provisioner is upstream's name for nodeclaim, the default)",
    )
    made.add_argument("--feature-gates", default="", metavar="GATE=true|false,…", help=", ".join(GATES))
    made.add_argument("--default-node-image-family", default="", metavar="|".join(NODE_IMAGE_FAMILIES))
    made.add_argument("--inference-runtime", default="vllm-cuda", metavar="NAME", help="a runtime of the catalogue")
    made.add_argument(
        "--runtime-parameter", action="append", default=[], metavar="KEY=VALUE", help="what the runtime asks for"
    )
    made.add_argument(
        "--allow-private-urls",
        action="append",
        default=[],
        metavar="CIDR",
        help="a private network that pods may download from, such as 10.0.0.0/8; again for more (default: none)",
    )
    made.add_argument(
        "--weights-cache",
        default="pod",
        metavar="pod|hostPath:FOLDER|storageClass:NAME",
        help="where fetched models are kept: with the pod (default), on the node's disk for all its pods, in a volume"
        " of that class for each replica on nodes with local NVMe",
    )
    made.add_argument(
        "--weights-node-folder",
        action="append",
        default=[],
        metavar="FOLDER",
        help=f"a folder of nodes below which Workspaces may read models, again for more (default: {KAITO_FOLDER})",
    )
    made.add_argument("--prices", type=Path, metavar="FILE", help="what nodes cost an hour, for status.plan.price")


def _provisioner(found: str | None) -> NodeProvisioner:
    if found == "karpenter":
        raise OptionsError(
            "--node-provisioner: karpenter (static NodePools) comes in a later version; use nodeclaim, whose "
            "NodeClaims this operator's nodeclaim controller or any other node provisioner turns into nodes."
        )
    if found == "azure-gpu-provisioner":
        return NodeProvisioner.NODE_CLAIM
    names = tuple(provisioner.value for provisioner in NodeProvisioner)
    return NodeProvisioner(_choice("--node-provisioner", found or NodeProvisioner.NODE_CLAIM.value, names))


def _controllers(found: str | None, provider: str) -> tuple[str, ...]:
    """Return which controllers run; without a cloud of ours, NodeClaims are somebody else's."""
    if found is None:
        return CONTROLLER_NAMES if provider else ("workspace",)
    names = [name.strip() for name in found.split(",") if name.strip()]
    if not names:
        raise OptionsError(f"--controllers: names no controller; choose from {', '.join(CONTROLLER_NAMES)}.")
    for name in names:
        _choice("--controllers", name, CONTROLLER_NAMES)
    return tuple(name for name in CONTROLLER_NAMES if name in names)


def _gates(found: str) -> Mapping[str, bool]:
    """Read ``Gate=true,Other=false``: known gates only, and none that asks for what is not there yet."""
    gates: dict[str, bool] = {}
    for name, text in _pairs("--feature-gates", [part for part in found.split(",") if part.strip()]).items():
        _choice("--feature-gates", name, tuple(GATES))
        try:
            gates[name] = _boolean(text)
        except argparse.ArgumentTypeError as error:
            raise OptionsError(f"--feature-gates: {name}: {error}") from None
        if GATES[name] not in {None, gates[name]}:
            raise OptionsError(
                f"--feature-gates: {name}={text} is not implemented yet; leave it at {str(GATES[name]).lower()}."
            )
    return gates


def _pairs(flag: str, found: Iterable[str]) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for item in found:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise OptionsError(f"{flag}: wants KEY=VALUE, found {item!r}.")
        pairs[key.strip()] = value.strip()
    return pairs


def _networks(flag: str, found: Sequence[str]) -> tuple[str, ...]:
    """CIDRs in their own spelling, each once."""
    networks = []
    for text in found:
        try:
            networks.append(str(ip_network(text.strip())))
        except ValueError as error:
            raise OptionsError(f"{flag}: wants a network such as 10.0.0.0/8, found {text!r} ({error}).") from None
    return tuple(dict.fromkeys(networks))


def _address(flag: str, found: str) -> Address:
    if found in {"0", ""}:
        return Address("", 0, enabled=False)
    host, colon, port = found.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:  # noqa: PLR2004 - the last TCP port
        raise OptionsError(f"{flag}: wants HOST:PORT or :PORT (0 turns it off), found {found!r}.")
    return Address(host.strip("[]"), int(port))


def _weights_cache(found: str) -> WeightsCache:
    try:
        return WeightsCache.parse(found)
    except ValueError as error:
        raise OptionsError(f"--weights-cache: {error}.") from error


def _node_folders(found: Sequence[str]) -> tuple[str, ...]:
    for folder in found:
        if not folder.startswith("/") or ".." in folder.split("/") or folder.strip("/") == "":
            raise OptionsError(f"--weights-node-folder: wants an absolute folder below /, found {folder!r}.")
    return tuple(folder.rstrip("/") for folder in found) or (KAITO_FOLDER,)


def _certificate(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder is not None else None


_Number = TypeVar("_Number", int, float)


def _not_negative(flag: str, found: _Number) -> _Number:
    if not found >= 0:
        raise OptionsError(f"{flag}: must not be below 0, found {found:g}.")
    return found


def _choice(flag: str, found: str, choices: Sequence[str]) -> str:
    if found in choices:
        return found
    near = difflib.get_close_matches(found, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices)}."
    raise OptionsError(f"{flag}: there is no {found!r}; {hint}")


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in {"true", "false"}:
        raise argparse.ArgumentTypeError(f"wants true or false, found {text!r}.")
    return lowered == "true"
