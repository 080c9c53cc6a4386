"""When a serving pod counts as started, ready and alive."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any, Final

from inference_server import contract
from kaito_controller.catalog.model import Preset

# Upstream's budget (its startup probe): 15 minutes and 18 seconds a GiB, within 30 to 180 minutes.
BASE_SECONDS: Final = 15 * 60
SECONDS_PER_GIB: Final = 18
LEAST_SECONDS: Final = 30 * 60
MOST_SECONDS: Final = 180 * 60
STARTUP_PERIOD_SECONDS: Final = 5
# A server that has not said for a minute that it lives will not finish its answers either: no drain for it.
HUNG_GRACE_SECONDS: Final = 30


def startup_budget_seconds(weights_bytes: int) -> int:
    """How long a model of this size may take to download, load and warm up, in seconds."""
    budget = BASE_SECONDS + ceil(Fraction(SECONDS_PER_GIB * weights_bytes, 1024**3))
    return min(MOST_SECONDS, max(LEAST_SECONDS, budget))


def probes(preset: Preset) -> dict[str, Any]:
    """The three probes, all on the server's health path: the kubelet starts the other two after the first succeeds.

    Upstream's first readiness check waits 30 seconds; here the startup probe has already seen the server answer.
    """
    return {
        "startupProbe": {
            **_health(),
            "periodSeconds": STARTUP_PERIOD_SECONDS,
            "timeoutSeconds": 3,
            "failureThreshold": ceil(startup_budget_seconds(preset.weights_bytes) / STARTUP_PERIOD_SECONDS),
        },
        "readinessProbe": {**_health(), "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            **_health(),
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
            "terminationGracePeriodSeconds": HUNG_GRACE_SECONDS,
        },
    }


def _health() -> dict[str, Any]:
    return {"httpGet": {"path": contract.HEALTH_PATH, "port": contract.PORT}}
