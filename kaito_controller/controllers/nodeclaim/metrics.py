"""The node provisioner's metrics, under Karpenter's names where it has them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_CALL_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
_TERMINATION_SECONDS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class NodeClaimMetrics:
    """Counters and durations of claims and of calls to the cloud, in a registry that is handed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.launched = Counter(
            "karpenter_nodeclaims_created_total", "NodeClaims whose machine was made.", registry=registry
        )
        self.terminated = Counter(
            "karpenter_nodeclaims_terminated_total", "NodeClaims whose machine is gone.", registry=registry
        )
        self.disrupted = Counter(
            "karpenter_nodeclaims_disrupted_total",
            "NodeClaims that the provisioner deleted by itself.",
            ["reason"],
            registry=registry,
        )
        self.refused = Counter(
            "kaito_nodeclaims_launch_refusals_total",
            "Times the cloud did not make a machine.",
            ["reason"],
            registry=registry,
        )
        self.termination_seconds = Histogram(
            "karpenter_nodeclaims_termination_duration_seconds",
            "From the deletion of a NodeClaim to its end.",
            buckets=_TERMINATION_SECONDS,
            registry=registry,
        )
        self.call_seconds = Histogram(
            "karpenter_cloudprovider_duration_seconds",
            "Duration of a call to the cloud.",
            ["method", "provider"],
            buckets=_CALL_SECONDS,
            registry=registry,
        )
        self.call_errors = Counter(
            "karpenter_cloudprovider_errors_total",
            "Calls to the cloud that failed; InstanceNotFound is an answer and not counted.",
            ["method", "provider", "error"],
            registry=registry,
        )
