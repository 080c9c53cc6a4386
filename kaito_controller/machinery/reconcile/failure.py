"""What kind of failure a reconciler's exception is: one to retry, one for good, or a defect of its code."""

from __future__ import annotations

from collections.abc import Iterator

from kaito_controller.machinery.reconcile.request import TerminalError

DEFECTS = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, LookupError, NameError, NotImplementedError),
    *(RecursionError, SystemExit, TypeError),
)
"""Exceptions that a correct reconciler does not raise: Go would have panicked."""


class ReconcilePanicError(Exception):
    """A reconciler has a defect, and its controller was told not to live with one; the cause is what it raised."""


def is_terminal(error: BaseException) -> bool:
    """Whether a TerminalError is anywhere among the explicit causes and in the groups among them (CT5).

    What an exception was raised during, but not from, does not count: the report of a terminal failure may itself fail
    in a way that another try mends.
    """
    return any(isinstance(each, TerminalError) for each in _walk(error, causes=True))


def is_panic(error: BaseException) -> bool:
    """Whether it, or a member of the group that it is, shows a defect of the code (CT8)."""
    return any(isinstance(each, DEFECTS) for each in _walk(error, causes=False))


def _walk(error: BaseException, *, causes: bool) -> Iterator[BaseException]:
    """The exception and what is inside it, each once: chains of causes may be circular."""
    seen: set[int] = set()
    left: list[BaseException] = [error]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            left.extend(each.exceptions)
        if causes and each.__cause__ is not None:
            left.append(each.__cause__)
