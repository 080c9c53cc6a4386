"""The one way in which getting or giving files fails."""

from __future__ import annotations

from enum import Enum

from attrs import frozen


class Kind(Enum):
    """Why, as far as the caller's next step depends on it."""

    DENIED = "denied"
    """401 or 403: no credentials, wrong ones, or ones without the right."""
    NOT_FOUND = "not_found"
    """The other side has no such thing."""
    UNREACHABLE = "unreachable"
    """No name, no connection, no trust in its certificate, or no answer in time."""
    BUSY = "busy"
    """429 or 5xx, still after the retries."""
    CORRUPT = "corrupt"
    """What came is not what its checksum, length or format promised."""
    UNSAFE = "unsafe"
    """It would reach where it must not: a private address, a path outside its folder, a device, a pickle."""
    TOO_LARGE = "too_large"
    """More bytes or files than the limits."""
    DISK_FULL = "disk_full"
    """No room, or no leave, to write here."""
    INVALID = "invalid"
    """The caller's input is no reference, URL or credentials file."""


_RETRYABLE = frozenset({Kind.UNREACHABLE, Kind.BUSY, Kind.CORRUPT, Kind.DISK_FULL})


@frozen(kw_only=True)
class FetchError(Exception):
    """One failure: what was asked, what happened, what to do. The message holds no credentials and no query of a URL.

    Attributes:
        kind: what happened.
        subject: the reference, or the URL without its query.
        found: what happened, as a clause.
        remedy: what to do about it.
        retry_after_s: how long the other side asked to be left alone, where it did.
    """

    kind: Kind
    subject: str
    found: str
    remedy: str = ""
    retry_after_s: float | None = None

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later with nothing changed."""
        return self.kind in _RETRYABLE

    @property
    def message(self) -> str:
        """One line: `subject: found; remedy`."""
        told = f"{self.subject}: {self.found}"
        whole = f"{told}; {self.remedy}" if self.remedy else told
        return "".join(letter if letter.isprintable() else " " for letter in whole)[:2000]

    def __str__(self) -> str:
        return self.message
