"""What wakes a Workspace: itself, its children, its NodeClaims, and the Nodes and Pods it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.controllers.workspace.views import Views, labelled_workspace, pod_workspace
from kaito_controller.kube import metadata
from kaito_controller.kube.core import CONFIG_MAPS, CONTROLLER_REVISIONS, JOBS, NODES, PODS, SERVICES, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.event import Event
from kaito_controller.machinery.controller.builder import Builder
from kaito_controller.machinery.controller.predicates import (
    annotations_changed,
    any_of,
    generation_changed,
    labels_changed,
    resource_version_changed,
)
from kaito_controller.machinery.controller.source import Watch
from kaito_controller.machinery.reconcile.request import Request


def watches(views: Views, *, provisions: bool) -> Builder:
    """Return what the controller watches. Those with a selector are the same informers that `views` reads."""

    def of_node(node: Object) -> Iterable[Request]:
        yield from _labelled(node)
        yield from views.workspaces_selecting(node)

    # Our own status writes change neither generation nor metadata, so they wake nobody.
    spec_changed = any_of(generation_changed, annotations_changed, labels_changed)
    ours = keys.WORKSPACE_NAME
    made = (
        Builder()
        .reconciles(WORKSPACES, spec_changed)
        .owns(STATEFUL_SETS, resource_version_changed, label_selector=ours)
        .owns(JOBS, resource_version_changed, label_selector=ours)
        .owns(SERVICES, resource_version_changed, label_selector=ours)
        .owns(CONFIG_MAPS, resource_version_changed, label_selector=ours)
        .owns(CONTROLLER_REVISIONS, resource_version_changed, label_selector=keys.REVISION_OWNER)
        .watches(Watch(PODS, _of_pod, (resource_version_changed,), label_selector=ours))
        .watches(Watch(NODES, of_node, (node_changed,)))
    )
    return made.watches(Watch(NODE_CLAIMS, _labelled, (node_claim_changed,))) if provisions else made


def node_changed(event: Event) -> bool:
    """A node's labels, readiness, pressures, resources or deletion changed; its heartbeat does not count."""
    return event.old is None or _of_node(event.old) != _of_node(event.object)


def node_claim_changed(event: Event) -> bool:
    """Anything of a claim changed but the time of its last pod event, which moves every few seconds."""
    return event.old is None or _of_claim(event.old) != _of_claim(event.object)


def _of_node(node: Object) -> tuple[Any, ...]:
    status = node.get("status") or {}
    conditions: Sequence[Mapping[str, Any]] = status.get("conditions") or ()
    states = sorted((str(one.get("type")), str(one.get("status"))) for one in conditions)
    return metadata.labels(node), metadata.is_deleting(node), states, status.get("allocatable")


def _of_claim(claim: Object) -> tuple[Any, ...]:
    status = {name: value for name, value in (claim.get("status") or {}).items() if name != "lastPodEventTime"}
    return metadata.labels(claim), metadata.is_deleting(claim), metadata.generation(claim), status


def _labelled(obj: Object) -> Iterable[Request]:
    return [Request.from_key(key) for key in labelled_workspace(obj)]


def _of_pod(pod: Object) -> Iterable[Request]:
    return [Request.from_key(key) for key in pod_workspace(pod)]
