"""Brings one model's files, keeps at it, and says all the while where it stands."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from attrs import define, field, frozen

from inference_server import contract
from inference_server.files.clock import Clock
from inference_server.files.errors import FetchError, Kind
from inference_server.files.progress import Progress
from inference_server.weights.model_folder import model_folder
from inference_server.weights.peers import Peers
from inference_server.weights.source import Source
from inference_server.weights.state import Phase, State
from inference_server.weights.store import Store
from inference_server.weights.wording import size_text

FIRST_WAIT_S: Final = 2.0
LONGEST_WAIT_S: Final = 60.0
# What only a person can put right is looked at again at this pace: a Secret corrected, an image pushed, a disk freed.
FAILED_WAIT_S: Final = 60.0
# Bytes unlike their checksum may come from a cache or a cable between; a source that always gives them is broken.
CORRUPT_ATTEMPTS: Final = 3
LOCK_WAIT_S: Final = 1.0
# A pod that does not answer may hold another revision; one on a dead node never answers.
UNANSWERED_ATTEMPTS: Final = 30
_UNDECIDED: Final = "the first pod of the model has not said yet which revision it takes"
_UNANSWERED: Final = "another pod of the model does not say which revision it has"
_TELL_EVERY_S: Final = 1.0
# So little left that the node itself would be in trouble.
SPARE_BYTES: Final = 512 * 2**20

_PASSING: Final = frozenset({Kind.UNREACHABLE, Kind.BUSY})
_EXIT_CODES: Final[Mapping[Kind, int]] = {
    Kind.DISK_FULL: contract.EXIT_UNAVAILABLE,
    Kind.UNREACHABLE: contract.EXIT_UNAVAILABLE,
    Kind.BUSY: contract.EXIT_UNAVAILABLE,
}


class Origin(Protocol):
    """How files of one kind of source are had."""

    def resolve(self, source: Source) -> str:
        """The commit or digest it stands for now. Raises `FetchError`."""

    def fetch(self, source: Source, folder: Path, progress: Progress) -> None:
        """Put a pinned source's files into a folder, whole or not at all. Raises `FetchError`."""


@frozen(kw_only=True)
class _Held(Exception):  # noqa: N818 (no error: another pod is at it)
    """Another pod is at it: one of the node fetches the same, or the model's first is to choose."""


@define(kw_only=True)
class Keeper:
    """One model's files. `run` returns once they are there; until then it tries, however often it fails."""

    wanted: str
    store: Store
    origin: Callable[[Source], Origin]
    clock: Clock
    peers: Peers = field(factory=Peers)
    state: State = field()
    _taken: str = field(init=False, default="")
    _unanswered: int = field(init=False, default=0)
    _corrupt: int = field(init=False, default=0)
    _wait_s: float = field(init=False, default=FIRST_WAIT_S)
    _told_at: float = field(init=False, default=float("-inf"))

    @state.default
    def _fresh(self) -> State:
        return State(self.clock.monotonic)

    def run(self) -> None:
        """Bring the files."""
        self.state.change(source=self.wanted)
        while not self._attempt():
            continue

    def _attempt(self) -> bool:
        try:
            self.store.prepare()
            self._bring(self._pinned(Source.parse(self.wanted)))
        except _Held:
            self.clock.sleep(LOCK_WAIT_S)
            return False
        except FetchError as error:
            self.clock.sleep(self._told(error))
            return False
        except OSError as error:
            # A disk that breaks, a volume that goes: told as everything else, since nobody looks at a dead thread.
            found = f"{type(error).__name__}: {error}"
            self.clock.sleep(self._told(FetchError(kind=Kind.DISK_FULL, subject=str(self.store.root), found=found)))
            return False
        except Exception as error:  # noqa: BLE001 (libraries raise what they like, and this thread may not end)
            traceback.print_exception(error)
            found = f"a fault of the agent's own: {type(error).__name__}: {error}"
            self.clock.sleep(self._told(FetchError(kind=Kind.INVALID, subject=self.wanted, found=found)))
            return False
        return True

    def _pinned(self, source: Source) -> Source:
        """The source at the commit or digest that it stands for.

        It is that of the model's other pods, where one of them has it, else what it stands for now; where nobody can
        be asked, the last that was had.
        """
        if source.is_pinned:
            return source
        if self._taken:
            return source.pinned(self._taken)
        told = self.peers.told(self.wanted, source)
        if told.revision is not None:
            self.state.change(message="")
            return source.pinned(told.revision)
        if not self.peers.decides:
            self.state.change(message=_UNDECIDED)
            raise _Held
        if not told.is_whole and self._unanswered < UNANSWERED_ATTEMPTS:
            self._unanswered += 1
            self.state.change(message=_UNANSWERED)
            raise _Held
        try:
            return source.pinned(self.origin(source).resolve(source))
        except FetchError as error:
            found = self.store.newest(str(source)) if error.kind in _PASSING else None
            if found is None:
                raise
            self.state.change(message=f"{error.message}; the files that are here from an earlier time are used")
            return Source.parse(found[1])

    def _bring(self, source: Source) -> None:
        name = source.folder_name
        self.state.change(phase=Phase.FETCHING, revision=source.revision, exit_code=None)
        # Before it is looked at, so that nobody sweeps it between.
        self.store.use(name)
        self._taken = source.revision
        folder = self.store.finished(name)
        if folder is not None:
            self._ready(model_folder(folder, str(source)))
            return
        with self.store.alone(name) as told:
            if told is None:
                self._tell_of_other(name)
                raise _Held
            if self.store.finished(name) is None:
                self._fetch(source, told)

    def _fetch(self, source: Source, told: Path) -> None:
        """Fetch, let the engine go on, and only then wait for the disk: the engine reads what memory still holds."""
        name = source.folder_name
        folder = self.store.root / name
        self.state.change(message="")

        def progress(bytes_done: int, bytes_total: int | None, /) -> None:
            self._make_room(name, bytes_done, bytes_total)
            self.state.progress(bytes_done, bytes_total)
            if self.clock.monotonic() - self._told_at >= _TELL_EVERY_S:
                self._told_at = self.clock.monotonic()
                self.store.tell_progress(told, bytes_done, bytes_total)

        self.origin(source).fetch(source, folder, progress)
        try:
            self._ready(model_folder(folder, str(source)))
        finally:
            # Also what holds no model: fetching the same again would not make it one.
            self.store.seal(name, str(source))

    def _ready(self, folder: Path) -> None:
        self.state.change(phase=Phase.READY, folder=str(folder), exit_code=None)

    def _make_room(self, name: str, bytes_done: int, bytes_total: int | None) -> None:
        """Sweep what nobody uses when the rest would not fit.

        Raises:
            FetchError: it does not fit even then (disk_full).
        """
        if bytes_total is None:
            return
        needed = bytes_total - bytes_done + SPARE_BYTES
        free = self.store.free_bytes()
        if free >= needed:
            return
        self.store.sweep(needed - free, keep=name)
        free = self.store.free_bytes()
        if free < needed:
            rest = size_text(bytes_total - bytes_done)
            raise FetchError(
                kind=Kind.DISK_FULL,
                subject=str(self.store.root),
                found=f"{rest} of {size_text(bytes_total)} are to come and {size_text(free)} are free",
                remedy=f"free the disk or give a larger one: {size_text(SPARE_BYTES)} must stay free",
            )

    def _tell_of_other(self, name: str) -> None:
        far = self.store.progress_of_other(name)
        if far is not None:
            self.state.progress(*far)
        self.state.change(message="another pod on this node is fetching the same files")

    def _told(self, error: FetchError) -> float:
        """Say what went wrong; the seconds to wait before the next attempt."""
        self._corrupt += error.kind is Kind.CORRUPT
        passes = error.kind in _PASSING or (error.kind is Kind.CORRUPT and self._corrupt < CORRUPT_ATTEMPTS)
        if not passes:
            code = _EXIT_CODES.get(error.kind, contract.EXIT_MODEL)
            self.state.change(phase=Phase.FAILED, message=error.message, exit_code=code)
            # What it stands for next time may be better.
            self._taken = ""
            return FAILED_WAIT_S
        wait = max(self._wait_s, min(error.retry_after_s or 0.0, LONGEST_WAIT_S))
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self.state.change(phase=Phase.FETCHING, message=f"{error.message}; it is tried again in {wait:.0f} s")
        return wait * (1 + self.clock.random() / 4)
