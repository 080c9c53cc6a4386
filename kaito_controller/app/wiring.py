"""The composition root: from `Options` to a running operator. Every collaborator is made here and handed down."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Final

from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.app.controllers import CONTROLLERS, Parts
from kaito_controller.app.kept import KEPT
from kaito_controller.app.options import Address, NodeProvisioner, Options, OptionsError
from kaito_controller.catalog import loader
from kaito_controller.catalog.loader import Catalog
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery import log
from kaito_controller.machinery.cache.cache import Cache, CacheSyncError
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock, RealClock
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.election.fence import FencedTransport
from kaito_controller.machinery.election.thread import ElectionThread
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiError,
    ConfigurationError,
    is_forbidden,
    is_not_found,
)
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.manager.manager import GraceExceededError, Manager
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.process import garbage
from kaito_controller.machinery.process.heartbeat import Heartbeat, Watchdog
from kaito_controller.machinery.process.signals import stop_on_signals
from kaito_controller.machinery.rest.user_agent import user_agent
from kaito_controller.machinery.server.access import Access
from kaito_controller.machinery.server.certificates import (
    CertificateError,
    Pair,
    ReloadedCertificate,
    SelfSigned,
    files,
)
from kaito_controller.machinery.server.endpoint import AddressInUseError
from kaito_controller.machinery.server.metrics_server import MetricsServer
from kaito_controller.machinery.transport import AioTransport, Transport
from kaito_controller.providers.protocol import CloudProvider
from kaito_controller.providers.registry import ProviderContext, open_provider

NAME: Final = "kaito-controller"
NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class StartError(Exception):
    """The operator cannot start or go on; the message is one line that says why and what to do."""


async def run(options: Options, *, stop: asyncio.Event | None = None, metrics: Metrics | None = None) -> None:
    """Run the operator until `stop`, SIGTERM or SIGINT.

    Raises `OptionsError` for flags that do not go together with what is there, `StartError` for everything outside.
    """
    log.configure(options.log_format)
    garbage.prepare()
    stop = stop or stop_on_signals()
    clock, metrics = RealClock(), metrics or Metrics()
    try:
        async with _transport(options, clock, metrics) as transport:
            await _check_cluster(Client(transport), options)
            async with _operator(options, transport, clock, metrics) as manager:
                await manager.run(stop)
    except (
        ConfigurationError,
        AddressInUseError,
        CacheSyncError,
        CertificateError,
        ApiConnectionError,
        GraceExceededError,
    ) as error:
        raise StartError(" ".join(str(error).split())) from error


@contextlib.asynccontextmanager
async def _operator(
    options: Options, transport: AioTransport, clock: Clock, metrics: Metrics
) -> AsyncIterator[Manager]:
    """Make all parts and their manager; the provider is closed at the end."""
    heartbeat = Heartbeat(clock)
    election = _election(options, clock, metrics, heartbeat) if options.leader_elect else None
    client = Client(FencedTransport(transport, election.may_write) if election is not None else transport)
    catalog = loader.load()
    recorder = EventRecorder(
        client=client,
        clock=clock,
        rng=Random(),  # noqa: S311 - names of events and pauses, no secrets
        metrics=metrics,
        controller=NAME,
        instance=f"{NAME}-{socket.gethostname()}",
    )
    cache = Cache(client, clock, metrics, recorder=recorder, transforms=KEPT)
    provider = _provider(options, client, cache, clock, catalog)
    manager = Manager(
        cache,
        clock,
        metrics,
        recorder=recorder,
        election=election,
        heartbeat=heartbeat,
        watchdog=Watchdog(heartbeat),
        probe_address=_listen(options.health),
        servers=_metrics_servers(options, Client(transport), clock, metrics),
        on_synced=garbage.settle,
    )
    if election is not None:
        manager.add_health_check("leader-election", election.check)
    parts = Parts(
        options=options,
        client=client,
        cache=cache,
        clock=clock,
        metrics=metrics,
        recorder=recorder,
        catalog=catalog,
        provider=provider,
    )
    for name in options.controllers:
        for runnable in CONTROLLERS[name].build(parts):
            manager.add(runnable)
    try:
        yield manager
    finally:
        if provider is not None:
            await provider.close()


async def _check_cluster(client: Client, options: Options) -> None:
    """Ask for what every start needs, so that a wrong cluster is one clear line and not a list that never comes."""
    wanted = [WORKSPACES] if "workspace" in options.controllers else []
    if options.node_provisioner is not NodeProvisioner.BYO or "nodeclaim" in options.controllers:
        wanted.append(NODE_CLAIMS)
    for resource in wanted:
        try:
            # No object has that name: what is in one must not keep the operator from starting.
            await client.list_page(resource, field_selector="metadata.name=-", limit=1, timeout_s=10.0)
        except ApiError as error:
            raise StartError(_explained(resource, error)) from error


def _explained(resource: Resource, error: ApiError) -> str:
    kind = f"{resource.plural}.{resource.group}"
    if is_not_found(error):
        if resource is NODE_CLAIMS:
            remedy = "kubectl create -f config/crd/karpenter.sh_nodeclaims.yaml or run with --node-provisioner byo"
        else:
            remedy = "kubectl apply --server-side -k config/crd"
        return f"the cluster does not know {kind}; install it with {remedy}."
    if error.status == 401:  # noqa: PLR2004 - Unauthorized
        return (
            "the API server does not accept the credentials (401); check the kubeconfig or the ServiceAccount's token."
        )
    if is_forbidden(error):
        return f"no permission to list {kind}; grant it with kubectl apply -k config/rbac ({error.message})."
    return f"the API server refused to list {kind}: {error}"


def _transport(options: Options, clock: Clock, metrics: Metrics | None, introduction: str = "") -> AioTransport:
    return AioTransport(
        kubeconfig=options.kubeconfig,
        clock=clock,
        metrics=metrics,
        qps=options.kube_client_qps,
        burst=options.kube_client_burst,
        user_agent=introduction,
    )


def _provider(options: Options, client: Client, cache: Cache, clock: Clock, catalog: Catalog) -> CloudProvider | None:
    if not options.provider:
        return None
    context = ProviderContext(
        client=client, cache=cache, clock=clock, catalog=catalog, options=options.provider_options
    )
    try:
        return open_provider(options.provider, context)
    except (ValueError, OSError) as error:
        raise OptionsError(f"--provider {options.provider}: {error}") from error


def _election(options: Options, clock: Clock, metrics: Metrics, heartbeat: Heartbeat) -> ElectionThread:
    """Contend for one Lease per set of controllers, so that two Deployments do not exclude each other."""
    namespace = options.leader_election_namespace or _own_namespace()
    lease = NAME if len(options.controllers) == len(CONTROLLERS) else f"{NAME}-{options.controllers[0]}"
    identity = f"{socket.gethostname()}_{uuid.uuid4()}"

    def transport() -> Transport:
        return _transport(options, clock, None, user_agent(NAME, "leader-election"))

    def elector(client: Client) -> LeaderElector:
        return LeaderElector(
            client=client,
            clock=clock,
            rng=Random(),  # noqa: S311 - spreads contenders, guards nothing
            metrics=metrics,
            namespace=namespace,
            name=lease,
            identity=identity,
            may_renew=heartbeat.is_alive,
        )

    return ElectionThread(transport, elector)


def _own_namespace() -> str:
    try:
        return NAMESPACE_FILE.read_text().strip()
    except OSError:
        raise OptionsError(
            "--leader-elect: outside a pod the Lease's namespace is unknown; name it with --leader-election-namespace."
        ) from None


def _metrics_servers(options: Options, client: Client, clock: Clock, metrics: Metrics) -> list[MetricsServer]:
    """Make the server of the metrics, unless they are turned off. Raises CertificateError for a bad certificate."""
    address = options.metrics
    if not address.enabled:
        return []
    certificate, access = None, None
    if options.metrics_secure:
        source: Callable[[], Pair] = SelfSigned(clock, hosts=("localhost", "127.0.0.1", socket.gethostname()))
        if options.metrics_certificate is not None and options.metrics_key is not None:
            source = files(options.metrics_certificate, options.metrics_key)
        certificate, access = ReloadedCertificate(source, clock, metrics), Access(client, clock)
    server = MetricsServer(
        host=address.host, port=address.port, metrics=metrics, access=access, certificate=certificate
    )
    return [server]


def _listen(address: Address) -> tuple[str, int] | None:
    return (address.host, address.port) if address.enabled else None
