"""Cancellations that somebody meant, told from those of what a task waited for.

Both arrive as CancelledError. One that nobody meant, let through, ends a task as if its work were done.
"""

from __future__ import annotations

import asyncio
from typing import Any


def is_asked_to_end() -> bool:
    """Whether somebody has cancelled the present task itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def failure_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Why a task is done that nobody has asked to stop; None where it returned."""
    if task.cancelled():
        return RuntimeError(f"{task.get_name()}: cancelled, though not asked to stop")
    return task.exception()
