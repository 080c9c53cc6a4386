"""What a scrape of the agent sees of the model's files."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from inference_server.agent import weights
from inference_server.weights.state import Phase, State


def test_a_scrape_shows_state_bytes_and_speed(clock: Any):
    """One state is 1; what is not known is not there."""
    registry, state = CollectorRegistry(), State(clock.monotonic)
    weights.register(registry, state)
    before = generate_latest(registry).decode()
    state.progress(5, 8)
    after = generate_latest(registry).decode()
    state.change(phase=Phase.READY)

    assert 'kaito_weights_state{state="Fetching"} 1.0' in before
    assert "kaito_weights_bytes_done" not in before
    assert {"kaito_weights_bytes_done 5.0", "kaito_weights_bytes_total 8.0"} <= set(after.splitlines())
    assert 'kaito_weights_state{state="Ready"} 1.0' in generate_latest(registry).decode()
