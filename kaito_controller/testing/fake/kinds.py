"""The kinds that the fake serves, and what sets one apart from another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field, frozen

from kaito_controller.kube import core
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.testing.fake import core_events
from kaito_controller.testing.fake.core_events import CORE_EVENTS

SPEC = ("spec",)
EVERYTHING = ("",)
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
Fields = Mapping[str, str]
"""Field selector label → path of the value in the object, dotted."""


@frozen(kw_only=True)
class Kind:
    """A kind as it is served in one version.

    Attributes:
        subresources: `status` and others that have a path of their own.
        generation: top-level fields whose change counts a generation; `EVERYTHING` is all but metadata (and but
            status, when that is a subresource); none for kinds that do not count.
        fields: what field selectors may name beyond `metadata.name` and `metadata.namespace`.
        verbs: what may be done with it, in the words of discovery.
        custom: whether a CustomResourceDefinition made it.
        unconditional: whether an update may leave the resourceVersion out.
        create_on_update: whether a PUT creates what is missing.
        answers_deleted: whether a delete is answered with the object rather than with a Status.
        defaults: fills in what a client may leave out, and then owns.
        initial: fills in what the server decides when it creates an object.
        schema: the OpenAPI schema of a custom kind; None takes everything as it comes.
        columns: the additional printer columns of a custom kind.
        collection: the name of its collection in the storage, when that is another kind's.
        shown: makes a stored object one of this kind; None when they are the same but for their version.
        stored: the other way.
        closing: whether its definition is being deleted, so that nothing new is created.
    """

    resource: Resource
    subresources: frozenset[str] = frozenset()
    generation: tuple[str, ...] = ()
    fields: Fields = field(factory=dict)
    short_names: tuple[str, ...] = ()
    singular: str = ""
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    custom: bool = False
    unconditional: bool = True
    create_on_update: bool = False
    answers_deleted: bool = False
    defaults: Callable[[Object], Object] | None = None
    initial: Callable[[Object], Object] | None = None
    schema: Mapping[str, Any] | None = None
    columns: Sequence[Mapping[str, Any]] = ()
    closing: bool = False
    collection: str = ""
    shown: Callable[[Object], Object] | None = None
    stored: Callable[[Object], Object] | None = None

    @property
    def group_resource(self) -> str:
        """The name of its collection in the storage, one for all versions: `leases.coordination.k8s.io`."""
        if self.collection:
            return self.collection
        return f"{self.resource.plural}.{self.resource.group}" if self.resource.group else self.resource.plural

    @property
    def has_status(self) -> bool:
        """Whether status is written through a path of its own only."""
        return "status" in self.subresources


@define
class Kinds:
    """Every kind served, by group, version and plural."""

    _served: dict[tuple[str, str, str], Kind] = field(factory=dict)

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._served.values()))

    def add(self, kind: Kind) -> None:
        """Serve a kind from now on, instead of any of the same name and version."""
        self._served[kind.resource.group, kind.resource.version, kind.resource.plural] = kind

    def remove(self, kind: Kind) -> None:
        """Serve it no longer."""
        self._served.pop((kind.resource.group, kind.resource.version, kind.resource.plural), None)

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind at a path."""
        return self._served.get((group, version, plural))

    def of(self, resource: Resource) -> Kind:
        """The kind of a resource; raises `KeyError` when it is not served."""
        return self._served[resource.group, resource.version, resource.plural]

    def knows_group(self, group: str) -> bool:
        """Whether any version of the group is served."""
        return any(kind.resource.group == group for kind in self._served.values())

    def knows_version(self, group: str, version: str) -> bool:
        """Whether that version of the group is served."""
        return any((key[0], key[1]) == (group, version) for key in self._served)


def plain(resource: Resource) -> Kind:
    """A kind of which nothing more is known: a custom one with a status subresource, as ours are."""
    return Kind(
        resource=resource,
        subresources=frozenset({"status"}),
        generation=EVERYTHING,
        custom=True,
        unconditional=False,
        singular=resource.kind.lower(),
    )


def _built_in(resource: Resource, *short: str, **facts: Any) -> Kind:
    subresources = frozenset(facts.pop("subresources", ()))
    return Kind(
        resource=resource, short_names=short, singular=resource.kind.lower(), subresources=subresources, **facts
    )


def _pod_defaults(obj: Object) -> Object:
    spec: Object = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": True,
    }
    given = obj.get("spec") or {}
    containers = [_container_defaults(container) for container in given.get("containers") or ()]
    return obj | {"spec": spec | given | {"containers": containers}}


def _container_defaults(container: Object) -> Object:
    own: Object = {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent" if ":" in container.get("image", "") else "Always",
    }
    ports = [{"protocol": "TCP"} | port for port in container.get("ports") or ()]
    return own | container | ({"ports": ports} if ports else {})


def _pod_status(obj: Object) -> Object:
    return obj | {"status": {"phase": "Pending", "qosClass": "BestEffort"}}


def _namespace_defaults(obj: Object) -> Object:
    head = dict(obj["metadata"])
    head["labels"] = {**(head.get("labels") or {}), "kubernetes.io/metadata.name": head["name"]}
    return obj | {"metadata": head}


def _namespace_status(obj: Object) -> Object:
    return obj | {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}


def _secret_defaults(obj: Object) -> Object:
    return {"type": "Opaque"} | obj


def _event_defaults(obj: Object) -> Object:
    unset: Object = {"deprecatedSource": {}, "deprecatedFirstTimestamp": None, "deprecatedLastTimestamp": None}
    return unset | obj


_POD_FIELDS = {
    "spec.nodeName": "spec.nodeName",
    "spec.restartPolicy": "spec.restartPolicy",
    "spec.schedulerName": "spec.schedulerName",
    "spec.serviceAccountName": "spec.serviceAccountName",
    "status.phase": "status.phase",
    "status.podIP": "status.podIP",
    "status.nominatedNodeName": "status.nominatedNodeName",
}
_EVENT_FIELDS = {
    **{f"regarding.{part}": f"regarding.{part}" for part in ("kind", "namespace", "name", "uid", "apiVersion")},
    "reason": "reason",
    "reportingController": "reportingController",
    "type": "type",
}

_STATUS = {"subresources": ("status",)}
_WORKLOAD = {"subresources": ("status",), "generation": SPEC}
REPLICA_SETS = Resource(group="apps", version="v1", kind="ReplicaSet", plural="replicasets", namespaced=True)
PERSISTENT_VOLUMES = Resource(
    group="", version="v1", kind="PersistentVolume", plural="persistentvolumes", namespaced=False
)

BUILT_IN: tuple[Kind, ...] = (
    _built_in(
        core.PODS,
        "po",
        subresources=("status", "eviction"),
        generation=SPEC,
        fields=_POD_FIELDS,
        answers_deleted=True,
        defaults=_pod_defaults,
        initial=_pod_status,
    ),
    _built_in(core.NODES, "no", fields={"spec.unschedulable": "spec.unschedulable"}, **_STATUS),
    _built_in(core.SERVICES, "svc", create_on_update=True, answers_deleted=True, **_STATUS),
    _built_in(core.CONFIG_MAPS, "cm"),
    _built_in(core.SECRETS, fields={"type": "type"}, defaults=_secret_defaults),
    _built_in(
        core.NAMESPACES,
        "ns",
        subresources=("status", "finalize"),
        fields={"status.phase": "status.phase"},
        answers_deleted=True,
        verbs=tuple(verb for verb in VERBS if verb != "deletecollection"),
        defaults=_namespace_defaults,
        initial=_namespace_status,
    ),
    _built_in(core.SERVICE_ACCOUNTS, "sa", answers_deleted=True),
    _built_in(core.PERSISTENT_VOLUME_CLAIMS, "pvc", answers_deleted=True, **_STATUS),
    _built_in(PERSISTENT_VOLUMES, "pv", answers_deleted=True, **_STATUS),
    _built_in(core.STATEFUL_SETS, "sts", **_WORKLOAD),
    _built_in(core.DEPLOYMENTS, "deploy", subresources=("status",), generation=("spec", "annotations")),
    _built_in(core.DAEMON_SETS, "ds", subresources=("status",), generation=SPEC),
    _built_in(REPLICA_SETS, "rs", **_WORKLOAD),
    _built_in(core.CONTROLLER_REVISIONS),
    _built_in(core.JOBS, subresources=("status",), generation=SPEC),
    _built_in(core.EVENTS, "ev", fields=_EVENT_FIELDS, create_on_update=True, defaults=_event_defaults),
    _built_in(
        CORE_EVENTS,
        "ev",
        fields=core_events.FIELDS,
        create_on_update=True,
        defaults=_event_defaults,
        collection="events.events.k8s.io",
        shown=core_events.shown,
        stored=core_events.stored,
    ),
    _built_in(core.LEASES, unconditional=False, create_on_update=True),
    _built_in(core.POD_DISRUPTION_BUDGETS, "pdb", subresources=("status",), generation=SPEC),
    _built_in(core.VOLUME_ATTACHMENTS, **_STATUS),
    _built_in(core.CUSTOM_RESOURCE_DEFINITIONS, "crd", "crds", subresources=("status",), generation=SPEC),
)


def standard() -> Kinds:
    """A fresh set of the built-in kinds."""
    kinds = Kinds()
    for kind in BUILT_IN:
        kinds.add(evolve(kind))
    return kinds
