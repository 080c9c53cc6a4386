"""Log lines: one JSON object each, or for a terminal, ours and those of libraries alike."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from kaito_controller.machinery import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was before the test."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_json_lines_carry_context_and_failures() -> None:
    """Each line is one object with time, level, component, bound context and the traceback."""
    stream = io.StringIO()
    log.configure("json", stream=stream)
    with structlog.contextvars.bound_contextvars(reconcileID="r1"):
        try:
            {}["x"]
        except KeyError:
            log.logger("kaito_controller.machinery.controller.controller").exception("reconcile failed", failures=3)
    log.logger("x").debug("not at this level")
    line = json.loads(stream.getvalue())
    assert "KeyError: 'x'" in line.pop("exception")
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "reconcile failed",
        "level": "error",
        "component": "machinery.controller.controller",
        "failures": 3,
        "reconcileID": "r1",
    }


def test_libraries_log_the_same_way_from_warnings_on() -> None:
    """The standard library's logging ends in the same stream and form."""
    stream = io.StringIO()
    log.configure("json", stream=stream)
    logging.getLogger("aiohttp").info("chatter")
    logging.getLogger("aiohttp").warning("%s is odd", "this")
    assert json.loads(stream.getvalue())["event"] == "this is odd"


def test_the_console_form_is_plain_text() -> None:
    """For a person: no JSON, no colours where there is no terminal."""
    stream = io.StringIO()
    log.configure("console", stream=stream)
    log.logger("x").info("started", workers=2)
    assert "started" in stream.getvalue()
    assert "workers=2" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
