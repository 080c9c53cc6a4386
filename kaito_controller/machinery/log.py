"""Logging: one line an event, its name constant and its values under keys; structlog is configured here alone."""

from __future__ import annotations

import logging
import sys
from contextvars import Context, copy_context
from typing import Any, Final, TextIO

import structlog

FORMATS: Final = ("json", "console")
"""JSON for machines, one object a line; console for a person at a terminal."""


def configure(log_format: str = "json", *, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send every log line of the process to ``stream`` (standard error unless told) in one of `FORMATS`.

    Lines of libraries that use the standard library's logging go the same way, warnings and worse only.
    """
    output = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    if log_format == "console":
        rendering: list[Any] = [
            # The default formatter would import rich, which is larger than all of the operator's own code.
            structlog.dev.ConsoleRenderer(colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    else:
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=output),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def logger(name: str) -> Any:
    """A logger whose lines carry the module's name, without the package, as `component`."""
    return structlog.get_logger(component=name.removeprefix("kaito_controller."))


def unbound() -> Context:
    """The present context without what is bound to log lines in it, for a task that outlives who starts it."""
    context = copy_context()
    context.run(structlog.contextvars.clear_contextvars)
    return context
