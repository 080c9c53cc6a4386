"""Fixtures of the oracle: client-go's outcomes, each asked for once, and a quiet log for what fails on purpose."""

from __future__ import annotations

import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Scenarios fail in many ways, and each failure would be drawn with the whole play around it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
