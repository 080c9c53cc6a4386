"""What was used last, up to a number: a cache that cannot grow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that drops what was not used for longest when it holds more than `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """What is kept under the key, which counts as a use; None when there is nothing."""
        value = self._items.get(key)
        if value is not None:
            self._items.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> V | None:
        """Keep the value, and return the one that had to go for it, if any."""
        self._items[key] = value
        self._items.move_to_end(key)
        return self._items.popitem(last=False)[1] if len(self._items) > self._limit else None

    def pop(self, key: K) -> V | None:
        """Forget the key, and return what was kept."""
        return self._items.pop(key, None)

    def items(self) -> Iterator[tuple[K, V]]:
        """All that is kept, least recently used first; the mapping may be changed meanwhile."""
        return iter(list(self._items.items()))
