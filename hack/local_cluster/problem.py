"""What the local cluster cannot do, said to a person."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 - it is shown to a person as a sentence, never as a traceback
    """One sentence that names what is missing or wrong, and the remedy."""
