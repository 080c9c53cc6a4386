"""Comparing resource versions of one resource.

Since Kubernetes 1.35 they are defined to be decimal numbers that compare as such within one resource; every server
in use has behaved so for years. Anything else is refused, never guessed.
"""

from __future__ import annotations

from attrs import frozen


def is_comparable(version: str) -> bool:
    """Whether the version is a decimal number without leading zero, and not 0 (ST8)."""
    return version.isascii() and version.isdigit() and not version.startswith("0")


def is_older(version: str, than: str) -> bool:
    """Whether one version comes before the other.

    Raises:
        ValueError: either is not a decimal number above 0.
    """
    for candidate in (version, than):
        if not is_comparable(candidate):
            raise ValueError(f"resourceVersion: must be a decimal number above 0, found {candidate!r}")
    return (len(version), version) < (len(than), than)


@frozen
class Written:
    """A write of our own that a cache should come to show."""

    version: str
    at: float

    def is_newer_than(self, version: str) -> bool:
        """Whether a cache at that version cannot know of this write. An empty version knows nothing."""
        if not is_comparable(version):
            return True
        return is_older(version, self.version)
