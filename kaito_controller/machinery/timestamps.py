"""Times as they are written into objects."""

from __future__ import annotations

from datetime import UTC, datetime


def micro_time(now: datetime) -> str:
    """A time as the API server writes MicroTime."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
