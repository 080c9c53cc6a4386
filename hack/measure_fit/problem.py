"""Why nothing could be measured."""

from __future__ import annotations


class MeasureProblem(Exception):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """One sentence for whoever asked, with what to do about it."""
