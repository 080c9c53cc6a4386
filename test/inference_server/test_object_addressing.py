from __future__ import annotations

import pytest

from inference_server.serve.object_storage import VIRTUAL_ADDRESSING, with_addressing


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": ""}, None),
        ({"AWS_ENDPOINT_URL": "https://store.internal"}, "0"),
        ({"AWS_ENDPOINT_URL": "https://store.internal", VIRTUAL_ADDRESSING: "1"}, "1"),
    ],
)
def test_a_store_of_ones_own_is_asked_by_paths(given: dict[str, str], told: str | None):
    """Amazon's own is left as the streamer has it, and so is what somebody asked for."""
    found = with_addressing(given)
    assert found.get(VIRTUAL_ADDRESSING) == told
    assert given.items() <= found.items()
