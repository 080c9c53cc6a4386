"""A stand-in for a claim that is gone, good enough to tell the cloud which machine is meant."""

from __future__ import annotations

from kaito_controller.api.nodeclaim import NODE_CLAIMS, NodeClaim, NodeClaimSpec, NodeClaimStatus, NodeClassReference
from kaito_controller.controllers.nodeclaim import managed
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.providers.protocol import Instance, NodeClass


def of_instance(instance: Instance, node_class: NodeClass) -> NodeClaim:
    """The claim that the instance says it was made for."""
    return _claim(instance.claim_name or instance.name, instance.claim_uid, instance.provider_id, node_class)


def of_node(node: Object, node_class: NodeClass) -> NodeClaim:
    """The claim that the Node says it belonged to."""
    owner = owner_of(node) or {}
    name = str(owner.get("name") or metadata.name(node))
    return _claim(name, str(owner.get("uid") or ""), managed.provider_id(node), node_class)


def owner_of(node: Object) -> dict[str, str] | None:
    """The owner reference of a Node that names a NodeClaim, or None."""
    for reference in metadata.owner_references(node):
        group = str(reference.get("apiVersion") or "").partition("/")[0]
        if (group, reference.get("kind")) == (NODE_CLAIMS.group, NODE_CLAIMS.kind):
            return {"name": str(reference.get("name")), "uid": str(reference.get("uid"))}
    return None


def _claim(name: str, uid: str, provider_id: str, node_class: NodeClass) -> NodeClaim:
    reference = NodeClassReference(group=node_class.group, kind=node_class.kind, name="default")
    return NodeClaim(
        metadata=ObjectMeta(name=name, uid=uid),
        spec=NodeClaimSpec(node_class_ref=reference),
        status=NodeClaimStatus(provider_id=provider_id),
    )
