"""A number that a calculation needs and no source has given."""

from __future__ import annotations


class MissingNumber(LookupError):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """The architecture lacks a number; `field` is where the catalogue would have it."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        super().__init__(f"architecture.{field} is not known, and {why}")


def known(number: int | None, field: str, why: str) -> int:
    """The number, when it is there.

    Raises:
        MissingNumber: it is not.
    """
    if number is None:
        raise MissingNumber(field, why)
    return number
