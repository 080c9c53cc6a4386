"""Bytes of many files that arrive side by side, added up."""

from __future__ import annotations

import threading
from typing import Self

from attrs import define, field

from inference_server.files.progress import Progress


@define(kw_only=True)
class Total:
    """What all files together have. huggingface_hub tells progress to bars; these show nothing and add up here."""

    progress: Progress
    bytes_total: int
    _done: dict[str, int] = field(init=False, factory=dict)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def bar(self, name: str) -> type[object]:
        """The class of a file's bars: as much of tqdm as the library asks for."""
        total = self

        class Bar:
            def __init__(self, *_: object, initial: int | None = None, **__: object) -> None:
                self.n = initial or 0
                total.told(name, self.n)

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                return

            def update(self, n: float | None = 1) -> None:
                self.n += int(n or 0)
                total.told(name, self.n)

            def close(self, *_: object, **__: object) -> None:
                return

            set_postfix_str = set_transfer_postfix_str = set_description_str = refresh = close

        return Bar

    def told(self, name: str, bytes_done: int) -> None:
        """One file has that many bytes now."""
        with self._lock:
            self._done[name] = bytes_done
            self.progress(min(sum(self._done.values()), self.bytes_total), self.bytes_total)

    def finished(self, name: str, size: int) -> None:
        """One file is there, whether or not anything of it had to be sent."""
        self.told(name, size)
