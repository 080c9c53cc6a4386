"""The node provisioner as the manager sees it: what it may do, what it watches, and its three parts."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.controllers.nodeclaim import managed
from kaito_controller.controllers.nodeclaim.context import Context
from kaito_controller.controllers.nodeclaim.garbagecollection.collector import GarbageCollector
from kaito_controller.controllers.nodeclaim.lifecycle.controller import Lifecycle
from kaito_controller.controllers.nodeclaim.measured import MeasuredProvider
from kaito_controller.controllers.nodeclaim.metrics import NodeClaimMetrics
from kaito_controller.controllers.nodeclaim.termination.node import NodeTermination
from kaito_controller.controllers.nodeclaim.timing import Timing
from kaito_controller.kube import metadata
from kaito_controller.kube.core import EVENTS, NODES, PERSISTENT_VOLUME_CLAIMS, PODS, VOLUME_ATTACHMENTS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.rbac import READ, Rule
from kaito_controller.machinery.backoff import ItemBackoff
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.controller.controller import Controller
from kaito_controller.machinery.controller.source import Watch
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.providers.protocol import CloudProvider

RULES = (
    Rule(resource=NODE_CLAIMS, verbs=(*READ, "patch", "delete"), why="finalizer, labels; claims that timed out"),
    Rule(resource=NODE_CLAIMS, subresource="status", verbs=("patch",), why="conditions, provider ID"),
    Rule(resource=NODE_CLAIMS, subresource="finalizers", verbs=("update",), why="to own Nodes that block deletion"),
    Rule(resource=NODES, verbs=(*READ, "patch", "delete"), why="registration, taints, finalizer; nodes of gone claims"),
    Rule(resource=PODS, verbs=("get", "list", "delete"), why="what must leave a node before it goes"),
    Rule(resource=PODS, subresource="eviction", verbs=("create",), why="draining by the Eviction API"),
    Rule(resource=VOLUME_ATTACHMENTS, verbs=("get", "list"), why="volumes come off before a node goes"),
    Rule(resource=PERSISTENT_VOLUME_CLAIMS, verbs=("get",), why="which volumes belong to pods that stay"),
    Rule(resource=EVENTS, verbs=("create", "patch"), why="the story in kubectl describe"),
)
"""What the node provisioner may do, whatever the provider; a provider that writes more declares it itself."""

# A launch is awaited by its worker: claims beyond this many wait for a slow cloud. Other reconciles take milliseconds.
WORKERS = 10
NODE_WORKERS = 4
RECONCILE_TIMEOUT_S = 600.0
# A machine that would not go, or an API server that was down, may have recovered without an event for us.
SLOWEST_RETRY_S = 60.0


@frozen(kw_only=True)
class NodeProvisioner:
    """The parts to add to a manager."""

    lifecycle: Controller
    node_termination: Controller
    garbage_collector: GarbageCollector

    @property
    def parts(self) -> tuple[Controller | GarbageCollector, ...]:
        """All of them."""
        return (self.lifecycle, self.node_termination, self.garbage_collector)


def node_provisioner(
    *,
    client: Client,
    cache: Cache,
    clock: Clock,
    events: EventRecorder,
    provider: CloudProvider,
    metrics: Metrics,
    timing: Timing | None = None,
    workers: int = WORKERS,
) -> NodeProvisioner:
    """Build the node provisioner over a provider. Caches must not have started: indexes are added to them."""
    own_metrics = NodeClaimMetrics(metrics.registry)
    context = Context(
        client=client,
        cache=cache,
        clock=clock,
        events=events,
        provider=MeasuredProvider(provider, clock, own_metrics),
        metrics=own_metrics,
        timing=timing or Timing(),
    )
    context.index()
    return NodeProvisioner(
        lifecycle=_lifecycle(context, metrics, workers),
        node_termination=_node_termination(context, metrics),
        garbage_collector=GarbageCollector(context),
    )


def _lifecycle(context: Context, metrics: Metrics, workers: int) -> Controller:
    reconciler = Lifecycle(context)

    def of_claim(claim: Object) -> Iterable[Request]:
        """The claim itself; when it goes, also those that wait for the capacity it frees."""
        if not managed.is_managed(claim, context.provider.node_classes):
            return
        yield Request.of(claim)
        if metadata.is_deleting(claim):
            yield from (Request("", name) for name in reconciler.waiting_for_capacity)

    def of_node(node: Object) -> Iterable[Request]:
        """The claim whose machine the Node is."""
        return [Request.of(claim) for claim in context.claims_of(managed.provider_id(node))]

    return Controller(
        name="nodeclaim.lifecycle",
        reconciler=reconciler,
        watches=[Watch(NODE_CLAIMS, of_claim), Watch(NODES, of_node)],
        cache=context.cache,
        clock=context.clock,
        metrics=metrics,
        workers=workers,
        rate_limiter=ItemBackoff(cap_s=SLOWEST_RETRY_S),
        reconcile_timeout_s=RECONCILE_TIMEOUT_S,
    )


def _node_termination(context: Context, metrics: Metrics) -> Controller:
    reconciler = NodeTermination(context)

    def of_node(node: Object) -> Iterable[Request]:
        """The Node, once it is being deleted and we hold it."""
        return [Request.of(node)] if reconciler.is_ours(node) else []

    return Controller(
        name="node.termination",
        reconciler=reconciler,
        watches=[Watch(NODES, of_node)],
        cache=context.cache,
        clock=context.clock,
        metrics=metrics,
        workers=NODE_WORKERS,
        rate_limiter=ItemBackoff(cap_s=SLOWEST_RETRY_S),
        reconcile_timeout_s=RECONCILE_TIMEOUT_S,
    )
