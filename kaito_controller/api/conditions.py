"""The condition types of our kinds, each with what it means when True."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class ConditionType(StrEnum):
    """A type of `status.conditions[]`. `kinds` are those that carry it, `meaning` is said of status True."""

    kinds: tuple[str, ...]
    meaning: str

    def __new__(cls, value: str, kinds: tuple[str, ...] = (), meaning: str = "") -> Self:
        """A member is its wire name; what the reference page says of it travels along."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.kinds = kinds
        member.meaning = meaning
        return member

    NODE_CLAIM_READY = "NodeClaimReady", ("Workspace",), "As many NodeClaims as the plan needs are Ready."
    NODES_READY = "NodesReady", ("Workspace",), "As many nodes as the plan needs are Ready and show their GPUs."
    RESOURCE_READY = "ResourceReady", ("Workspace",), "Everything the workload runs on is there."
    INFERENCE_READY = "InferenceReady", ("Workspace",), "Every replica answers its readiness probe."
    ADAPTERS_READY = (
        "AdaptersReady",
        ("Workspace",),
        "The engine serves every adapter of inference.adapters. InferenceReady does not depend on it.",
    )
    JOB_STARTED = "JobStarted", ("Workspace",), "The tuning Job has started."
    WORKSPACE_SUCCEEDED = (
        "WorkspaceSucceeded",
        ("Workspace",),
        "The Workspace does what it was made for: the model serves, or the tuning Job has finished.",
    )
    WORKSPACE_DELETING = (
        "WorkspaceDeleting",
        ("Workspace",),
        "Deletion was asked for; the workload and its nodes are going.",
    )
    SPEC_HONORED = (
        "SpecHonored",
        ("Workspace",),
        "Every field that is set has an effect. False lists those that this release accepts but does not act on.",
    )
    BENCHMARK_COMPLETED = "BenchmarkCompleted", ("Workspace",), "The peak throughput was measured and recorded."
    MODEL_MIRROR_READY = (
        "ModelMirrorReady",
        ("Workspace",),
        "The model's weights are mirrored into the cluster's storage.",
    )

    LAUNCHED = "Launched", ("NodeClaim",), "The provider made the machine."
    REGISTERED = "Registered", ("NodeClaim",), "The machine joined the cluster as a Node."
    INITIALIZED = (
        "Initialized",
        ("NodeClaim",),
        "The Node is Ready, without start-up taints, and shows every requested resource.",
    )
    READY = "Ready", ("NodeClaim",), "Launched, Registered and Initialized are all True."
    DRAINED = "Drained", ("NodeClaim",), "No evictable pod is left on the Node."
    VOLUMES_DETACHED = "VolumesDetached", ("NodeClaim",), "No volume of a drained pod is attached to the Node."
    INSTANCE_TERMINATING = "InstanceTerminating", ("NodeClaim",), "The provider was told to end the machine."
    CONSISTENT_STATE_FOUND = "ConsistentStateFound", ("NodeClaim",), "The Node has the capacity that was promised."
    DRIFTED = "Drifted", ("NodeClaim",), "The machine no longer is what would be made today."
