"""What happened in a simulation, so that a failure can be read and two runs can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from attrs import define, field

from kaito_controller.machinery.clock import Clock


class Violation(AssertionError):  # noqa: N818 - what it names is the finding
    """Something happened that must never happen."""


@define
class Trace:
    """The log of one simulation: when, who, what."""

    clock: Clock
    entries: list[tuple[float, str, tuple[object, ...]]] = field(init=False, factory=list)

    def note(self, who: str, *what: object) -> None:
        """Write down that something happened; what is noted must not depend on addresses or hashes."""
        self.entries.append((self.clock.monotonic(), who, what))

    def digest(self) -> str:
        """A fingerprint of everything that was noted: equal for two runs of one seed."""
        return blake2b(repr(self.entries).encode(), digest_size=8).hexdigest()

    def lines(self, *, only: str = "", last: int = 0) -> Sequence[str]:
        """The entries as text, of one author or of all, the last ones or all."""
        chosen = [entry for entry in self.entries if not only or entry[1] == only][-last:]
        return [f"{at:12.3f}  {who:<14}{' '.join(map(str, what))}" for at, who, what in chosen]
