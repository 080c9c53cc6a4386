"""Why something could not be read, in a sentence for whoever asked, and whether asking again may help."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    """The kinds of failure, by what would end them."""

    MISSING = "Missing"
    """It is not there, or not for everybody to see: another name, or a token."""
    DENIED = "Denied"
    """It is there and not for us: a token, a licence, or a Role."""
    UNREACHABLE = "Unreachable"
    """No answer came, or half of one: time."""
    BUSY = "Busy"
    """The server asks to come back later: time."""
    MALFORMED = "Malformed"
    """What was read breaks its format's rules: another file."""
    TOO_LARGE = "TooLarge"
    """More than is ever read: another file."""
    UNSUPPORTED = "Unsupported"
    """A form that cannot be read without reading all of it, or running it: another form."""


class SourceError(Exception):
    """A source could not be read; the message says which part, the rule, what was found and what to do.

    Attributes:
        trouble: the kind of failure.
        retry_after_s: seconds that the server asks to wait; None when it does not ask.
    """

    def __init__(self, trouble: Trouble, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.retry_after_s = retry_after_s

    @property
    def passes(self) -> bool:
        """Whether time alone may end it."""
        return self.trouble in {Trouble.UNREACHABLE, Trouble.BUSY}


def malformed(message: str) -> SourceError:
    """The error of a file that breaks its format's rules."""
    return SourceError(Trouble.MALFORMED, message)


def too_large(message: str) -> SourceError:
    """The error of more than is ever read."""
    return SourceError(Trouble.TOO_LARGE, message)
