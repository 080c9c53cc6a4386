"""From a wanted adapter to a folder that the engine may load: resolve, fetch, check, scale, put in place.

In the cache each adapter has a folder of its name, and in it one for each content and strength: vLLM keys its prefix
cache and its re-reading by the path, so other weights must lie under another one. Such a folder is never changed, and
a file beside it (`KEY.json`) says what it holds, so that a restarted agent needs no registry.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from attrs import asdict, evolve, field, frozen

from inference_server.agent import adapter_config, inspection
from inference_server.agent.inspection import Checks
from inference_server.agent.refusal import AdapterRefusedError, Reason, line
from inference_server.agent.sources import Brought, Sources
from inference_server.agent.wanted import WantedAdapter

INCOMING: Final = ".incoming"
KEY_LENGTH: Final = 16
# Why a fetch ends for good when the files that it brought are at fault.
ABOUT_CONTENT: Final = (Reason.FILES_INVALID, Reason.SPEC_INVALID)


@frozen(kw_only=True)
class Prepared:
    """An adapter that lies ready: what of which version of which source, how strong, and where."""

    path: str
    source: str
    version: str
    strength: str
    digest: str
    rank: int

    def holds(self, wanted: WantedAdapter) -> bool:
        """Whether it came from where `wanted` comes from, at the same strength."""
        return (self.source, self.strength) == (wanted.source, wanted.strength)


class Preparing(Protocol):
    """What the agent asks for ready adapters."""

    def prepare(self, wanted: WantedAdapter, earlier: Prepared | None) -> Prepared:
        """The newest content; `earlier` itself when nothing has changed. Raises AdapterRefusedError."""
        ...

    def kept(self, name: str) -> Iterable[Prepared]:
        """What lies ready for this name, from before as well."""
        ...

    def check(self, path: str) -> None:
        """Looks again at one, with what is known by now. Raises AdapterRefusedError."""
        ...

    def paths(self) -> Iterable[str]:
        """Every folder that lies ready."""
        ...

    def discard(self, path: str) -> None:
        """Removes one of them."""
        ...


@frozen(kw_only=True)
class Preparer:
    """The real one, below one folder of the cache."""

    cache: Path
    sources: Sources
    checks: Checks
    # What was refused of each name, by source and version: it is not fetched again to be refused again.
    refused: dict[str, tuple[str, str, AdapterRefusedError]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        """What an agent that was killed left on its way in goes."""
        shutil.rmtree(self.cache / INCOMING, ignore_errors=True)

    def prepare(self, wanted: WantedAdapter, earlier: Prepared | None) -> Prepared:
        """As `Preparing` says."""
        source = self.sources.of(wanted)
        version = source.version(wanted)
        ready = [one for one in (earlier, *self.kept(wanted.name)) if one is not None]
        for one in ready:
            if one.holds(wanted) and one.version == version and Path(one.path).is_dir():
                return self._still_fits(one)
        known = self.refused.get(wanted.name)
        if known is not None and known[:2] == (wanted.source, version):
            raise known[2]
        try:
            with self._incoming() as incoming:
                brought = self._fetched(wanted, version, incoming)
                return self._place(wanted, brought.version or version, incoming, brought)
        except OSError as error:
            message = f"it cannot be kept below {self.cache}: {error.strerror or error}"
            raise AdapterRefusedError(reason=Reason.FETCH_FAILED, message=message, retryable=True) from error

    def kept(self, name: str) -> list[Prepared]:
        """Reads the notes beside the folders; one that cannot be read stands for nothing."""
        found = []
        for note in sorted((self.cache / name).glob("*.json")):
            try:
                prepared = Prepared(**json.loads(note.read_bytes()))
            except (OSError, ValueError, TypeError):
                continue
            if Path(prepared.path).is_dir():
                found.append(prepared)
        return found

    def check(self, path: str) -> None:
        """Once the engine answers, its model's files are there to hold the adapter against."""
        self.checks.inspect(Path(path))

    def paths(self) -> list[str]:
        """Folders below the names; what is on its way in does not count."""
        return [str(path) for path in self.cache.glob("[!.]*/*") if path.is_dir()]

    def discard(self, path: str) -> None:
        """The note goes first: without its folder it would promise too much."""
        folder = Path(path)
        with suppress(OSError):
            folder.with_suffix(".json").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            # Fails while the name has another folder, which is what is wanted.
            folder.parent.rmdir()

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """A folder to be, of this preparation alone: one for an earlier wish of the same name may still go on."""
        (self.cache / INCOMING).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache / INCOMING, ignore_cleanup_errors=True) as place:
            yield Path(place, "adapter")

    def _fetched(self, wanted: WantedAdapter, version: str, incoming: Path) -> Brought:
        try:
            return self.sources.of(wanted).fetch(wanted, incoming)
        except AdapterRefusedError as refusal:
            # A hub's version is a name, under which there may soon be something better.
            if wanted.hub is None and not refusal.retryable and refusal.reason in ABOUT_CONTENT:
                self.refused[wanted.name] = (wanted.source, version, refusal)
            raise

    def _still_fits(self, prepared: Prepared) -> Prepared:
        """The engine may have been started again for lower ranks since this was prepared."""
        self.checks.inspect(Path(prepared.path))
        return prepared

    def _place(self, wanted: WantedAdapter, version: str, incoming: Path, brought: Brought) -> Prepared:
        try:
            found = self.checks.inspect(incoming, brought.annotations)
        except AdapterRefusedError as refusal:
            told = evolve(refusal, digest=brought.digest)
            self.refused[wanted.name] = (wanted.source, version, told)
            raise told from None
        key = hashlib.sha256(json.dumps([brought.digest, wanted.strength]).encode()).hexdigest()[:KEY_LENGTH]
        target = self.cache / wanted.name / key
        prepared = Prepared(
            path=str(target),
            source=wanted.source,
            version=version,
            strength=wanted.strength,
            digest=brought.digest,
            rank=found.config.highest_rank,
        )
        # Only what was checked goes on: the tensors as they are, and a config of the fields that count.
        clean = incoming.with_name(f".{wanted.name}")
        shutil.rmtree(clean, ignore_errors=True)
        clean.mkdir()
        (incoming / inspection.TENSORS_NAME).rename(clean / inspection.TENSORS_NAME)
        served = found.config.served(wanted.factor, found.modules)
        (clean / adapter_config.FILE_NAME).write_text(json.dumps(served), encoding="utf-8")
        # The engine may run as another user.
        for path in (clean, *clean.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            # The same bytes under another version: a tag that was pushed again, a file that was touched.
            shutil.rmtree(clean)
        else:
            clean.rename(target)
        _write(target.with_suffix(".json"), json.dumps(asdict(prepared)))
        return prepared


def describe(error: Exception) -> AdapterRefusedError:
    """A refusal for whatever preparing raised, as one bad adapter may not end the agent."""
    if isinstance(error, AdapterRefusedError):
        return error
    message = line(f"{type(error).__name__}: {error}")
    return AdapterRefusedError(reason=Reason.FETCH_FAILED, message=message, retryable=True)


def _write(path: Path, text: str) -> None:
    """All of it or nothing, even when the container is killed meanwhile."""
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
