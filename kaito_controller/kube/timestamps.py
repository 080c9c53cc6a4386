"""RFC 3339 timestamps as the API server writes them: UTC, whole seconds, a trailing Z."""

from __future__ import annotations

from datetime import UTC, datetime


def format_timestamp(moment: datetime) -> str:
    """`2026-11-22T13:05:00Z` for an aware datetime; fractions of a second are cut.

    Raises:
        ValueError: the datetime is naive.
    """
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_timestamp(moment: datetime) -> str:
    """`2026-11-22T13:05:00.000123Z`: the MicroTime of Events and Leases.

    Raises:
        ValueError: the datetime is naive.
    """
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """The aware UTC datetime of an RFC 3339 timestamp.

    Raises:
        ValueError: not a timestamp, or one without an offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"timestamp: RFC 3339 needs an offset such as Z; found {text!r}")
    return moment.astimezone(UTC)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"moment: must carry a time zone; found the naive {moment.isoformat()}")
    return moment.astimezone(UTC)
