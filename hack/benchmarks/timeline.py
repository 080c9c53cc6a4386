"""When things happened, as a client of the API server sees them: a `kubectl get --watch` a kind, stamped on arrival."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from attrs import define, field, frozen
from local_cluster.kubectl import Kubectl

TIMEOUT_S = 120.0
WATCHES_START_S = 2.0
"""kubectl says nothing when its watch begins; this is several times what it takes."""


@frozen(kw_only=True)
class Seen:
    """One line of a watch: the object's name, its columns, and the seconds on the monotonic clock at its arrival."""

    name: str
    columns: tuple[str, ...]
    at: float


@define
class Watching:
    """Watches one kind with the given JSONPath columns for as long as the context lasts."""

    kubectl: Kubectl
    kind: str
    columns: tuple[str, ...] = ()
    namespaced: bool = True
    seen: list[Seen] = field(init=False, factory=list)
    _process: subprocess.Popen[str] | None = field(init=False, default=None)
    _changed: threading.Condition = field(init=False, factory=threading.Condition)

    def __enter__(self) -> Self:
        paths = "|".join(("{.metadata.name}", *self.columns))
        command = [str(self.kubectl.binary), "--kubeconfig", str(self.kubectl.kubeconfig), "get", self.kind, "--watch"]
        command += ["--output", f'jsonpath={paths}{{"\\n"}}', *(["--all-namespaces"] if self.namespaced else [])]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def first(self, holds: Callable[[Seen], bool], what: str, patience_s: float = TIMEOUT_S) -> Seen:
        """The first line for which ``holds``, waited for if need be. Raises TimeoutError, which names ``what``."""
        deadline = time.monotonic() + patience_s
        with self._changed:
            while True:
                found = next((line for line in self.seen if holds(line)), None)
                if found is not None:
                    return found
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"not seen in {patience_s:.0f} s: {what}")

    def last(self, names: Collection[str], holds: Callable[[Seen], bool], patience_s: float) -> float:
        """The instant at which ``holds`` was first seen of the last of ``names``.

        Raises TimeoutError, which names some of those missing, when that takes longer than ``patience_s``.
        """
        deadline = time.monotonic() + patience_s
        missing, looked_at = set(names), 0
        with self._changed:
            while True:
                for line in self.seen[looked_at:]:
                    if line.name in missing and holds(line):
                        missing.discard(line.name)
                        if not missing:
                            return line.at
                looked_at = len(self.seen)
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"not seen in {patience_s:.0f} s: {len(missing)}, of them {sorted(missing)[:3]}")

    def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        for line in self._process.stdout:
            name, *columns = line.rstrip("\n").split("|")
            with self._changed:
                self.seen.append(Seen(name=name, columns=tuple(columns), at=time.monotonic()))
                self._changed.notify_all()
