"""One index of a store: which objects are found under which values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import define, field

from kaito_controller.kube.metadata import Object

IndexFunction = Callable[[Object], Iterable[str]]
"""The values under which an object is found; none, one or many."""

_NONE: tuple[str, ...] = ()


@define(eq=False)
class Index:
    """Keys by value. What an object was filed under is remembered, so the function is asked once per change."""

    name: str
    function: IndexFunction
    _keys: dict[str, dict[str, None]] = field(init=False, factory=dict)
    _values: dict[str, tuple[str, ...]] = field(init=False, factory=dict)

    def put(self, key: str, obj: Object) -> None:
        """File an object under the values that it has now.

        Raises:
            Exception: the function failed; the object is then found under no value.
        """
        try:
            values = tuple(self.function(obj))
        except Exception:
            self.drop(key)
            raise
        known = self._values.get(key, _NONE)
        if values == known:
            return
        if known:
            self._unfile(key, known)
        if values:
            self._values[key] = values
            for value in values:
                self._keys.setdefault(value, {})[key] = None

    def drop(self, key: str) -> None:
        """Take an object out."""
        known = self._values.get(key)
        if known is not None:
            self._unfile(key, known)

    def keys_of(self, value: str) -> Iterable[str]:
        """The keys of the objects with this value, in the order in which they took it."""
        return self._keys.get(value, ())

    def values_of(self, key: str) -> Sequence[str]:
        """The values under which an object is filed."""
        return self._values.get(key, _NONE)

    def values(self) -> Sequence[str]:
        """All values that any object has."""
        return list(self._keys)

    def _unfile(self, key: str, values: Iterable[str]) -> None:
        del self._values[key]
        for value in values:
            keys = self._keys.get(value)
            if keys is None:
                continue
            keys.pop(key, None)
            # Values come and go with the objects; empty sets would pile up (ST2).
            if not keys:
                del self._keys[value]
