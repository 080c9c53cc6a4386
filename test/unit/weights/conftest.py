"""A clock that does not wait, and sources whose every answer a test decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from inference_server.files.errors import FetchError, Kind
from inference_server.files.progress import Progress
from inference_server.weights.keeper import Keeper, Origin
from inference_server.weights.peers import Peers
from inference_server.weights.source import Source
from inference_server.weights.store import Store

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "model.safetensors": b"weights!"}


@define
class StillClock:
    """Time passes only when somebody sleeps; `sleeps` are for how long, and `on_sleep` is what happens meanwhile."""

    now: float = 1000.0
    sleeps: list[float] = field(factory=list)
    on_sleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        self.on_sleep()

    def random(self) -> float:
        return 0.0


@define
class ScriptedOrigin:
    """Fails with each of `failures` first, then gives `files`. `asked` is what was fetched."""

    files: dict[str, bytes] = field(factory=lambda: dict(FILES))
    failures: list[FetchError] = field(factory=list)
    commit: str | FetchError = COMMIT
    total: int | None = None
    asked: list[str] = field(factory=list)
    before_rename: Callable[[], None] = lambda: None

    def resolve(self, _source: Source) -> str:
        if isinstance(self.commit, FetchError):
            raise self.commit
        return self.commit

    def fetch(self, source: Source, folder: Path, progress: Progress) -> None:
        self.asked.append(str(source))
        if self.failures:
            raise self.failures.pop(0)
        total = self.total or sum(map(len, self.files.values()))
        progress(0, total)
        self.before_rename()
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        progress(total, total)


@pytest.fixture
def failure() -> Callable[..., FetchError]:
    """Makes the error of a hub."""

    def make(kind: Kind, **more: Any) -> FetchError:
        return FetchError(kind=kind, subject="hub", **{"found": "it says no", "remedy": "do this", **more})

    return make


@pytest.fixture
def scripted() -> type[ScriptedOrigin]:
    """Makes another origin than the usual one."""
    return ScriptedOrigin


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def origin() -> ScriptedOrigin:
    return ScriptedOrigin()


@pytest.fixture
def keeper(tmp_path: Path, clock: StillClock, origin: ScriptedOrigin) -> Callable[..., Keeper]:
    """Makes a keeper of a source, as a pod of its own on the node of `tmp_path`."""

    def make(wanted: str = f"hf://org/model@{COMMIT}", of: Origin = origin, peers: Peers | None = None) -> Keeper:
        return Keeper(
            wanted=wanted,
            store=Store(tmp_path / "weights"),
            origin=lambda _: of,
            clock=clock,
            peers=peers or Peers(),
        )

    return make
