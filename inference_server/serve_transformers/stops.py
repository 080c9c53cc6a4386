"""Cuts an answer before a stop text, as OpenAI's endpoints do; transformers ends after it and leaves it in."""

from __future__ import annotations

from attrs import define


@define
class StopCutter:
    """Text goes in as it comes and out as soon as it cannot be part of a stop text."""

    stops: tuple[str, ...]
    done: bool = False
    _held: str = ""

    def feed(self, text: str) -> str:
        """What may be shown after `text` came."""
        if self.done:
            return ""
        if not self.stops:
            return text
        self._held += text
        found = [place for stop in self.stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.done = True
            return self._release(min(found))
        return self._release(len(self._held) - self._possible())

    def end(self) -> str:
        """What was held back, now that no more comes."""
        return "" if self.done else self._release(len(self._held))

    def _possible(self) -> int:
        """The longest end of the held text with which a stop text begins."""
        longest = min(len(self._held), max(map(len, self.stops)) - 1)
        ends = (self._held[-size:] for size in range(longest, 0, -1))
        return next((len(end) for end in ends if any(stop.startswith(end) for stop in self.stops)), 0)

    def _release(self, size: int) -> str:
        shown, self._held = self._held[:size], self._held[size:]
        return shown
