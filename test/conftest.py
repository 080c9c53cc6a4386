"""For every suite: a test that configures logging does so for itself alone, and no test changes what a cache holds.

`--regen` writes the golden files anew; look at the difference before you commit it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from kaito_controller.machinery.cache.mutation import VARIABLE, MutationDetector

# The same examples in every run, and none judged by the time that it takes: a busy machine is no failure. To look for
# new ones: hack/test unit --hypothesis-profile=explore
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regen", action="store_true", help="write the golden files instead of comparing them")


@pytest.fixture
def regen(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--regen"))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Put back handlers and structlog's configuration: a handler left behind writes to a stream that pytest closed."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = [*handlers]
    root.setLevel(level)


@pytest.fixture(autouse=True)
def mutation_detectors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MutationDetector]]:
    """Watch every cache that the test makes, here and in processes that it starts; fail it when an object changed."""
    made: list[MutationDetector] = []
    monkeypatch.setenv(VARIABLE, "true")
    monkeypatch.setattr(MutationDetector, "census", made)
    yield made
    for detector in made:
        detector.verify()
