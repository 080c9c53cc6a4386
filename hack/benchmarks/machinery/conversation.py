"""What a measured process and the benchmark say to each other: a line of JSON out, a line of words in."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import structlog


def log_to_stderr() -> None:
    """Keep the log apart from the conversation, and to warnings."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def say(**values: Any) -> None:
    """Tell the benchmark something."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def questions() -> Iterator[tuple[str, int]]:
    """What the benchmark asks, as a word and a number, until it says `quit`."""
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        if word == "quit":
            return
        yield word, int(number or 0)
