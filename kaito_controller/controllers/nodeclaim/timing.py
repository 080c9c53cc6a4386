"""Every duration of the node provisioner in one value, so that an installation and a test can choose them."""

from __future__ import annotations

from attrs import field, frozen

from kaito_controller.controllers.nodeclaim.lifecycle.backoff import BackoffPolicy


@frozen(kw_only=True)
class Timing:
    """Durations in seconds.

    ``launch_timeout_s`` counts from the claim's creation while the launch goes on failing; waiting for capacity does
    not count. ``registration_timeout_s`` counts from a successful launch (Karpenter counts both from creation and
    gives 5 and 15 minutes). ``termination_poll_s`` bounds how often a cloud is asked whether an instance is gone.
    ``orphan_age_s`` is how old an instance without claim must be before it is collected; ``collection_interval_s`` how
    often that is looked at. ``stuck_pod_s`` is how long past its own deletion time a pod may hold a drain.
    """

    launch_timeout_s: float = 300.0
    registration_timeout_s: float = 900.0
    launch_backoff: BackoffPolicy = field(factory=lambda: BackoffPolicy(first_s=1.0, limit_s=60.0))
    capacity_backoff: BackoffPolicy = field(factory=lambda: BackoffPolicy(first_s=10.0, limit_s=120.0))
    drain_poll_s: float = 1.0
    termination_poll_s: float = 5.0
    stuck_pod_s: float = 60.0
    collection_interval_s: float = 120.0
    orphan_age_s: float = 30.0
