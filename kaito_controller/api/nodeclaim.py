"""`karpenter.sh/v1` NodeClaim: one machine that somebody asks for, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from kaito_controller.kube.conditions import Condition
from kaito_controller.kube.declaration import CelRule, rules, schema
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.kube.quantity import PATTERN as QUANTITY_PATTERN
from kaito_controller.kube.resource import Resource

NODE_CLAIMS = Resource(group="karpenter.sh", version="v1", kind="NodeClaim", plural="nodeclaims", namespaced=False)

NEVER = "Never"
UPSTREAM_EXPIRE_AFTER = "720h"

_QUALIFIED_NAME = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
)
_LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"


@frozen(kw_only=True)
class NodeClassReference:
    """The node class that says how machines of this kind are made."""

    group: str = field(
        metadata=schema(
            "API group of the node class, without a version.",
            max_length=253,
            rules=(
                CelRule("self != ''", "group: may not be empty; name the API group of the node class"),
                CelRule("!self.contains('/')", "group: is a group without a version; drop the slash and what follows"),
            ),
        )
    )
    kind: str = field(
        metadata=schema(
            "Kind of the node class.",
            max_length=63,
            rules=(CelRule("self != ''", "kind: may not be empty; name the kind of the node class"),),
        )
    )
    name: str = field(
        metadata=schema(
            "Name of the node class.",
            max_length=253,
            rules=(CelRule("self != ''", "name: may not be empty; name the node class"),),
        )
    )


@frozen(kw_only=True)
class NodeRequirement:
    """One requirement on the labels of the machine to be made."""

    key: str = field(
        metadata=schema(
            "The label's key.",
            min_length=1,
            max_length=316,
            pattern=_QUALIFIED_NAME,
            rules=(
                CelRule(
                    "self in ['karpenter.sh/capacity-type', 'karpenter.sh/nodepool']"
                    " || !self.find('^([^/]+)').endsWith('karpenter.sh')",
                    "key: of the domain karpenter.sh only karpenter.sh/capacity-type and karpenter.sh/nodepool may be"
                    " required; use another label",
                    "self",
                ),
                CelRule(
                    "self != 'kubernetes.io/hostname'",
                    "key: kubernetes.io/hostname may not be required, as the machine is yet to be made; remove it",
                ),
            ),
        )
    )
    operator: str = field(
        metadata=schema(
            "How the label's value relates to `values`.",
            enum=("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte"),
        )
    )
    values: tuple[str, ...] = field(
        default=(),
        metadata=schema(
            "The values. One integer for Gt, Lt, Gte and Lte; none for Exists and DoesNotExist.",
            max_items=600,
            item={"max_length": 63, "pattern": _LABEL_VALUE},
            list_type="atomic",
        ),
    )
    min_values: int | None = field(
        default=None,
        metadata=schema("How many of the values must stay possible. Not acted on here.", minimum=1, maximum=50),
    )


@frozen(kw_only=True)
class ResourceRequirements:
    """What pods will ask of the machine."""

    requests: Mapping[str, str | int] = field(
        factory=dict,
        metadata=schema(
            "Least amounts, such as `storage: 100Gi` or `nvidia.com/gpu: 1`.",
            max_properties=32,
            item={"pattern": QUANTITY_PATTERN, "int_or_string": True},
        ),
    )


@frozen(kw_only=True)
class Taint:
    """A mark on the Node that keeps pods away unless they tolerate it."""

    key: str = field(metadata=schema("The taint's key.", min_length=1, max_length=316, pattern=_QUALIFIED_NAME))
    effect: str = field(
        metadata=schema(
            "What happens to pods that do not tolerate it.", enum=("NoSchedule", "PreferNoSchedule", "NoExecute")
        )
    )
    value: str = field(default="", metadata=schema("The taint's value.", max_length=63, pattern=_LABEL_VALUE))
    time_added: str | None = field(
        default=None, metadata=schema("When a NoExecute taint was added, RFC 3339.", format="date-time")
    )


@rules(
    CelRule(
        "self == oldSelf",
        "spec: immutable; delete the NodeClaim and create another with the spec you want",
    )
)
@frozen(kw_only=True)
class NodeClaimSpec:
    """The machine that is asked for. Immutable."""

    node_class_ref: NodeClassReference = field(metadata=schema("How the machine is made, and by which provider."))
    requirements: tuple[NodeRequirement, ...] = field(
        default=(),
        metadata=schema(
            "Requirements on the labels of the machine, the instance type above all.",
            required=True,
            always=True,
            max_items=100,
            list_type="atomic",
            rules=(
                CelRule(
                    "self.all(x, x.operator != 'In' || (has(x.values) && x.values.size() > 0))",
                    "requirements: operator In needs at least one value; add the values that are wanted",
                ),
                CelRule(
                    "self.all(x, !(x.operator in ['Gt', 'Lt', 'Gte', 'Lte']) || (has(x.values) && x.values.size() == 1"
                    " && x.values[0].matches('^[0-9]{1,18}$')))",
                    "requirements: operators Gt, Lt, Gte and Lte need exactly one value, a whole number that is not"
                    " negative; give one",
                ),
                CelRule(
                    "self.all(x, !(x.operator == 'In' && has(x.minValues)) || (has(x.values)"
                    " && x.values.size() >= x.minValues))",
                    "requirements: minValues may not exceed the number of values of operator In; lower it",
                ),
            ),
        ),
    )
    resources: ResourceRequirements = field(
        factory=ResourceRequirements, metadata=schema("What pods will ask of the machine.")
    )
    taints: tuple[Taint, ...] = field(
        default=(), metadata=schema("Taints that the Node keeps.", max_items=64, list_type="atomic")
    )
    startup_taints: tuple[Taint, ...] = field(
        default=(),
        metadata=schema(
            "Taints that somebody else removes while the Node starts; until then it is not Initialized.",
            max_items=64,
            list_type="atomic",
        ),
    )
    expire_after: str = field(
        default=NEVER,
        metadata=schema(
            "Age at which a controller for expiration deletes the NodeClaim, as `720h`, or Never."
            " Left out it becomes 720h, so write Never for machines that must stay.",
            default=UPSTREAM_EXPIRE_AFTER,
            always=True,
            max_length=64,
            pattern=r"^(([0-9]+(s|m|h))+|Never)$",
        ),
    )
    termination_grace_period: str | None = field(
        default=None,
        metadata=schema(
            "How long draining may take before the machine goes anyway, as `30m`. Left out: for ever.",
            max_length=64,
            pattern=r"^([0-9]+(s|m|h))+$",
        ),
    )

    def values_of(self, key: str) -> tuple[str, ...]:
        """The values that operator In allows for a label; empty when the label is not required so."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator == "In":
                return requirement.values
        return ()


@frozen(kw_only=True)
class NodeClaimStatus:
    """What became of the machine."""

    node_name: str = field(default="", metadata=schema("Name of the Node that the machine joined as.", max_length=253))
    provider_id: str = field(
        default="",
        metadata=schema(
            "The provider's name of the machine; the Node carries the same.", wire="providerID", max_length=1024
        ),
    )
    image_id: str = field(
        default="", metadata=schema("The image that the machine was made from.", wire="imageID", max_length=1024)
    )
    capacity: Mapping[str, str | int] = field(
        factory=dict,
        metadata=schema(
            "What the provider expects the machine to have.",
            max_properties=64,
            item={"pattern": QUANTITY_PATTERN, "int_or_string": True},
        ),
    )
    allocatable: Mapping[str, str | int] = field(
        factory=dict,
        metadata=schema(
            "What of that pods can use.",
            max_properties=64,
            item={"pattern": QUANTITY_PATTERN, "int_or_string": True},
        ),
    )
    conditions: tuple[Condition, ...] = field(
        default=(), metadata=schema("Where the machine stands.", max_items=32, list_keys=("type",))
    )
    last_pod_event_time: str | None = field(
        default=None,
        metadata=schema("When a pod last came to or left the Node, RFC 3339.", format="date-time"),
    )


@frozen(kw_only=True)
class NodeClaim:
    """A machine that somebody asks for. A node provisioner makes it join the cluster as a Node; it ends with the claim.

    Whoever needs a node creates a NodeClaim; whoever can make machines watches for those of its node classes.
    """

    api_version: str = field(default=NODE_CLAIMS.api_version, metadata=schema("", always=True))
    kind: str = field(default=NODE_CLAIMS.kind, metadata=schema("", always=True))
    metadata: ObjectMeta = field(factory=ObjectMeta)
    spec: NodeClaimSpec = field(metadata=schema("The machine that is asked for. Immutable."))
    status: NodeClaimStatus = field(factory=NodeClaimStatus, metadata=schema("What became of the machine."))
