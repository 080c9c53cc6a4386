"""For every suite: a test that configures logging does so for itself alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Put back handlers and structlog's configuration: a handler left behind writes to a stream that pytest closed."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = [*handlers]
    root.setLevel(level)
