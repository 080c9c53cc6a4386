"""The three stages of every test here. The real one needs the programs of hack/binaries."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito_controller.testing.fake.stage import HttpStage, MemoryStage, RealStage, Stage
from kaito_controller.testing.fixtures import apiserver

__all__ = ["apiserver", "stage"]


@pytest.fixture(params=["memory", "http", "real"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """Where the test is played."""
    match request.param:
        case "memory":
            return MemoryStage()
        case "http":
            return HttpStage(tmp_path)
        case _:
            return RealStage(request.getfixturevalue("apiserver"))
