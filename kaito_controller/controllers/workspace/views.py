"""The caches through which a Workspace is seen, the indexes that find what belongs to it, and the one gathering."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES, Workspace
from kaito_controller.controllers.workspace import claims
from kaito_controller.controllers.workspace.claims import ClaimShape
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.kube import metadata
from kaito_controller.kube.core import CONFIG_MAPS, CONTROLLER_REVISIONS, JOBS, NODES, PODS, SERVICES, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.selectors import LabelSelector
from kaito_controller.kube.shapes import NodeShape, PodShape
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.packed import unpacked
from kaito_controller.machinery.cache.typed import Typed
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.workloads.adapters import SUFFIX

BY_WORKSPACE: Final = "workspace"
BY_LABEL: Final = "label"
BY_SELECTOR: Final = "selector"
ANY_LABEL: Final = "*"
READER: Final = "the Workspace controller"


class Views:
    """What is known of all Workspaces and their children, without asking the API server."""

    def __init__(self, cache: Cache, *, provisions: bool) -> None:
        """Ask the cache for the informers; without provisioning NodeClaims are not even watched."""
        self._cache = cache
        # Its user reads on the Workspace itself what is wrong with it; of the others only an event tells.
        self._typed = Typed(Workspace, READER, cache.unfit, tells=False)
        self._fit_claims = Typed(ClaimShape, READER, cache.unfit)
        self._fit_nodes = Typed(NodeShape, READER, cache.unfit)
        self._fit_pods = Typed(PodShape, READER, cache.unfit)
        self.workspaces: Informer = cache.informer(WORKSPACES)
        self.revisions: Informer = cache.informer(CONTROLLER_REVISIONS, label_selector=keys.REVISION_OWNER)
        self.node_claims: Informer | None = cache.informer(NODE_CLAIMS) if provisions else None
        self.nodes: Informer = cache.informer(NODES)
        self.services: Informer = cache.informer(SERVICES, label_selector=keys.WORKSPACE_NAME)
        self.stateful_sets: Informer = cache.informer(STATEFUL_SETS, label_selector=keys.WORKSPACE_NAME)
        self.jobs: Informer = cache.informer(JOBS, label_selector=keys.WORKSPACE_NAME)
        self.pods: Informer = cache.informer(PODS, label_selector=keys.WORKSPACE_NAME)
        self.config_maps: Informer = cache.informer(CONFIG_MAPS, label_selector=keys.WORKSPACE_NAME)
        self.workspaces.add_index(BY_SELECTOR, self.selector_values)
        self.nodes.add_index(BY_LABEL, label_values)
        self.revisions.add_index(BY_WORKSPACE, revision_workspace)
        self.pods.add_index(BY_WORKSPACE, pod_workspace)
        if self.node_claims is not None:
            self.node_claims.add_index(BY_WORKSPACE, labelled_workspace)

    def is_stale(self, request: Request) -> bool:
        """Whether a cache has yet to show a write of ours to the Workspace or one of its children."""
        stale = self._cache.is_stale
        headless = f"{request.key}-headless"
        if any(stale(kind, request.key) for kind in (WORKSPACES, STATEFUL_SETS, JOBS, SERVICES)):
            return True
        if stale(CONFIG_MAPS, f"{request.key}{SUFFIX}"):
            return True
        found = self.node_claims.store.by_index(BY_WORKSPACE, request.key) if self.node_claims else ()
        return stale(SERVICES, headless) or any(stale(NODE_CLAIMS, metadata.name(claim)) for claim in found)

    def gather(self, request: Request) -> Snapshot | None:
        """Return the Workspace with everything of it, or None when there is no such Workspace."""
        raw = self.workspaces.store.get(request.key)
        if raw is None:
            return None
        workspace = self._typed.read(raw)
        found = self.node_claims.store.by_index(BY_WORKSPACE, request.key) if self.node_claims else ()
        node_claims = tuple(sorted(found, key=metadata.name))
        services = [self.services.store.get(name) for name in (request.key, f"{request.key}-headless")]
        stateful_set = self.stateful_sets.store.get(request.key)
        job = self.jobs.store.get(request.key)
        wanted_adapters = self.config_maps.store.get(f"{request.key}{SUFFIX}")
        return Snapshot(
            raw=raw,
            workspace=workspace.value,
            malformed=workspace.fault,
            revisions=tuple(map(unpacked, self.revisions.store.by_index(BY_WORKSPACE, request.key))),
            node_claims=node_claims,
            unfit_claims=tuple(self._faults(node_claims)),
            nodes=self._fit_nodes.fitting(self._nodes(workspace.value, self._fit_claims.fitting(node_claims))),
            services={metadata.name(service): unpacked(service) for service in services if service is not None},
            stateful_set=unpacked(stateful_set) if stateful_set is not None else None,
            job=unpacked(job) if job is not None else None,
            wanted_adapters=unpacked(wanted_adapters) if wanted_adapters is not None else None,
            pods=tuple(map(self._pod, sorted(self.pods.store.by_index(BY_WORKSPACE, request.key), key=metadata.name))),
        )

    def nodes_matching(self, selector: LabelSelector) -> tuple[Object, ...]:
        """Return the nodes whose labels meet the selector; the index narrows them to one label first."""
        value = _selector_value(selector)
        candidates = self.nodes.store.list() if value == ANY_LABEL else self.nodes.store.by_index(BY_LABEL, value)
        matching = (node for node in candidates if selector.matches(metadata.labels(node)))
        return tuple(sorted(matching, key=metadata.name))

    def workspaces_selecting(self, node: Object) -> Iterable[Request]:
        """Return the Workspaces on existing nodes whose selector matches this node."""
        for value in (ANY_LABEL, *label_values(node)):
            for raw in self.workspaces.store.by_index(BY_SELECTOR, value):
                workspace = self._typed.value(raw)
                if workspace is not None and workspace.resource.label_selector.matches(metadata.labels(node)):
                    yield Request.of(raw)

    def selector_values(self, raw: Object) -> tuple[str, ...]:
        """Return the label under which a Workspace on existing nodes waits for them; none when it makes its own."""
        workspace = self._typed.value(raw)
        if workspace is None or workspace.resource.instance_type:
            return ()
        return (_selector_value(workspace.resource.label_selector),)

    def _faults(self, node_claims: Iterable[Object]) -> Iterable[str]:
        for claim in node_claims:
            fault = self._fit_claims.read(claim).fault
            if fault and not metadata.is_deleting(claim):
                yield f"NodeClaim {metadata.name(claim)}: {fault}"

    def _pod(self, pod: Object) -> Object:
        """The pod, or of one that does not fit what keeps it in sight: who it is and which node it holds."""
        if not self._fit_pods.read(pod).fault:
            return pod
        spec = pod.get("spec")
        node_name = spec.get("nodeName") if isinstance(spec, dict) else None
        return {"metadata": pod["metadata"], "spec": {"nodeName": node_name} if isinstance(node_name, str) else {}}

    def _nodes(self, workspace: Workspace | None, node_claims: Iterable[Object]) -> tuple[Object, ...]:
        if workspace is None:
            return ()
        if not workspace.resource.instance_type:
            selector = workspace.resource.label_selector
            return () if selector.is_empty else self.nodes_matching(selector)
        names = sorted({name for claim in node_claims if (name := claims.node_name(claim))})
        found = (self.nodes.store.get(name) for name in names)
        return tuple(node for node in found if node is not None)


def labelled_workspace(obj: Object) -> tuple[str, ...]:
    """Return the key of the Workspace that a cluster-scoped object names in its labels."""
    labels = metadata.labels(obj)
    name, namespace = labels.get(keys.WORKSPACE_NAME), labels.get(keys.WORKSPACE_NAMESPACE)
    return (f"{namespace}/{name}",) if name and namespace else ()


def pod_workspace(pod: Object) -> tuple[str, ...]:
    """Return the key of the Workspace that a pod names; it lives in the same namespace."""
    name = metadata.labels(pod).get(keys.WORKSPACE_NAME)
    return (f"{metadata.namespace(pod)}/{name}",) if name else ()


def revision_workspace(revision: Object) -> tuple[str, ...]:
    """Return the key of the Workspace that a revision names."""
    name = metadata.labels(revision).get(keys.REVISION_OWNER)
    return (f"{metadata.namespace(revision)}/{name}",) if name else ()


def label_values(node: Object) -> tuple[str, ...]:
    """Return every label as ``key=value``."""
    return tuple(f"{key}={value}" for key, value in metadata.labels(node).items())


def _selector_value(selector: LabelSelector) -> str:
    exact = sorted(selector.match_labels.items())
    return f"{exact[0][0]}={exact[0][1]}" if exact else ANY_LABEL
