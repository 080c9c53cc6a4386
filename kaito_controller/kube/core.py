"""The built-in kinds that the operator reads or writes."""

from __future__ import annotations

from kaito_controller.kube.resource import Resource

PODS = Resource(group="", version="v1", kind="Pod", plural="pods", namespaced=True)
NODES = Resource(group="", version="v1", kind="Node", plural="nodes", namespaced=False)
SERVICES = Resource(group="", version="v1", kind="Service", plural="services", namespaced=True)
CONFIG_MAPS = Resource(group="", version="v1", kind="ConfigMap", plural="configmaps", namespaced=True)
SECRETS = Resource(group="", version="v1", kind="Secret", plural="secrets", namespaced=True)
NAMESPACES = Resource(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False)
SERVICE_ACCOUNTS = Resource(group="", version="v1", kind="ServiceAccount", plural="serviceaccounts", namespaced=True)
PERSISTENT_VOLUME_CLAIMS = Resource(
    group="", version="v1", kind="PersistentVolumeClaim", plural="persistentvolumeclaims", namespaced=True
)
STATEFUL_SETS = Resource(group="apps", version="v1", kind="StatefulSet", plural="statefulsets", namespaced=True)
DEPLOYMENTS = Resource(group="apps", version="v1", kind="Deployment", plural="deployments", namespaced=True)
DAEMON_SETS = Resource(group="apps", version="v1", kind="DaemonSet", plural="daemonsets", namespaced=True)
CONTROLLER_REVISIONS = Resource(
    group="apps", version="v1", kind="ControllerRevision", plural="controllerrevisions", namespaced=True
)
JOBS = Resource(group="batch", version="v1", kind="Job", plural="jobs", namespaced=True)
EVENTS = Resource(group="events.k8s.io", version="v1", kind="Event", plural="events", namespaced=True)
LEASES = Resource(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases", namespaced=True)
POD_DISRUPTION_BUDGETS = Resource(
    group="policy", version="v1", kind="PodDisruptionBudget", plural="poddisruptionbudgets", namespaced=True
)
VOLUME_ATTACHMENTS = Resource(
    group="storage.k8s.io", version="v1", kind="VolumeAttachment", plural="volumeattachments", namespaced=False
)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    group="apiextensions.k8s.io",
    version="v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
)
TOKEN_REVIEWS = Resource(
    group="authentication.k8s.io", version="v1", kind="TokenReview", plural="tokenreviews", namespaced=False
)
SUBJECT_ACCESS_REVIEWS = Resource(
    group="authorization.k8s.io",
    version="v1",
    kind="SubjectAccessReview",
    plural="subjectaccessreviews",
    namespaced=False,
)
