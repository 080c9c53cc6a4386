"""An API server for each test, to be cut off, killed and made to forget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kaito_controller.testing.apiserver import APIServer, serving

NAMESPACE = "chaos"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[APIServer]:
    """An API server of this test alone."""
    with serving(tmp_path / "apiserver") as started:
        started.create_namespace(NAMESPACE)
        yield started
