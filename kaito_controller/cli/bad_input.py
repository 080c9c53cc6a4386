"""What a user gave that cannot be used."""

from __future__ import annotations


class BadInputError(Exception):
    """One sentence that says which word or file, the rule, what was found and what to do."""
