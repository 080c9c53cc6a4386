from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from kaito_controller.kube import timestamps

MOMENT = datetime(2026, 11, 22, 13, 5, 0, 123, tzinfo=UTC)


def test_times_are_written_as_the_api_server_writes_them():
    """UTC with a Z: whole seconds in conditions, microseconds in leases and events."""
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=2)))
    assert timestamps.format_timestamp(elsewhere) == "2026-11-22T13:05:00Z"
    assert timestamps.format_micro_timestamp(elsewhere) == "2026-11-22T13:05:00.000123Z"


def test_what_is_written_is_read_back():
    """To the microsecond."""
    assert timestamps.parse_timestamp(timestamps.format_micro_timestamp(MOMENT)) == MOMENT


@pytest.mark.parametrize("use", [timestamps.format_timestamp, timestamps.format_micro_timestamp])
def test_a_naive_time_is_refused(use):
    """It could be any hour of the day."""
    with pytest.raises(ValueError, match="must carry a time zone"):
        use(MOMENT.replace(tzinfo=None))


@pytest.mark.parametrize("text", ["2026-11-22T13:05:00", "yesterday"])
def test_what_is_no_timestamp_is_refused(text):
    """Without an offset it is none either."""
    with pytest.raises(ValueError, match=r"offset|isoformat"):
        timestamps.parse_timestamp(text)
