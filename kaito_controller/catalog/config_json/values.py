"""Numbers out of a decoded `config.json`, which anybody may have written."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

# Above every layer count, width and vocabulary that exists: what is larger is a mistake or an attack.
LARGEST_NUMBER: Final = 10**8
LARGEST_LENGTH: Final = 10**9
MOST_LAYERS: Final = 2000


class ConfigProblem(ValueError):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """A `config.json` lacks something, contradicts itself or is absurd; the message says which field and the rule."""


class Values:
    """One mapping of a `config.json`; `path` is where it stands, for messages."""

    def __init__(self, found: Mapping[str, Any], path: str = "") -> None:
        self._found = found
        self._path = path

    def raw(self, *names: str) -> Any:
        """The first of the named fields that is there and not null; None without any."""
        return next((self._found[name] for name in names if self._found.get(name) is not None), None)

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self._found.get(name) is not None

    def written(self, name: str) -> bool:
        """Whether a field is there, even as null."""
        return name in self._found

    def number(self, *names: str, default: int | None = None, largest: int = LARGEST_NUMBER) -> int:
        """A whole number above zero under the first of the names that is there.

        Raises:
            ConfigProblem: none is there and there is no default, or what is there is no such number.
        """
        number = self.optional(*names, largest=largest)
        if number is not None:
            return number
        if default is None:
            raise ConfigProblem(f"config.json: {self._at(names[0])}: must be given, found nothing")
        return default

    def optional(self, *names: str, largest: int = LARGEST_NUMBER) -> int | None:
        """A whole number above zero under the first of the names that is there; None without any.

        Raises:
            ConfigProblem: what is there is no such number.
        """
        name = next((name for name in names if self.has(name)), None)
        if name is None:
            return None
        found = self._found[name]
        if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found) or found != int(found):
            raise self.problem(name, "must be a whole number above zero")
        if not 0 < found <= largest:
            raise self.problem(name, f"must be above zero and at most {largest}")
        return int(found)

    def count(self, *names: str) -> int:
        """A whole number that may be zero, which it is when none of the names is there or it is negative."""
        name = next((name for name in names if self.has(name)), None)
        found = self._found[name] if name is not None else 0
        return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= LARGEST_NUMBER else 0

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false; the default where the field is absent or no boolean."""
        found = self._found.get(name)
        return found if isinstance(found, bool) else default

    def text(self, *names: str) -> str:
        """A string under the first of the names that is there; empty without any."""
        found = self.raw(*names)
        return found if isinstance(found, str) else ""

    def items(self, name: str, layers: int) -> Sequence[Any] | None:
        """A list with one item for each layer; None where the field is absent.

        Raises:
            ConfigProblem: it is no list, or has another number of items.
        """
        if not self.has(name):
            return None
        found = self._found[name]
        if not isinstance(found, list | str):
            raise self.problem(name, "must be a list with an item for each layer")
        if len(found) != layers:
            raise ConfigProblem(
                f"config.json: {self._at(name)}: must have one item for each of the {layers} layers, found {len(found)}"
            )
        return found

    def mapping(self, name: str) -> Values | None:
        """A nested mapping; None where the field is absent or none."""
        found = self._found.get(name)
        return Values(found, self._at(name)) if isinstance(found, Mapping) else None

    def problem(self, name: str, rule: str) -> ConfigProblem:
        """The error of one field."""
        shown = reprlib.Repr()
        shown.maxlevel = 2
        return ConfigProblem(f"config.json: {self._at(name)}: {rule}, found {shown.repr(self._found.get(name))}")

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name
