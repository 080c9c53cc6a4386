"""Where adapters come from: OCI images, the hub, and folders that a volume brought. All of it is untrusted."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from attrs import field, frozen

from inference_server import contract
from inference_server.agent import adapter_config, inspection
from inference_server.agent.refusal import AdapterRefusedError, Reason, line
from inference_server.agent.wanted import WantedAdapter

T = TypeVar("T")
FILES: Final = (adapter_config.FILE_NAME, inspection.TENSORS_NAME)
# A rank-512 adapter of a model of 400 billion parameters, in 32 bits, stays below.
MAX_ADAPTER_BYTES: Final = 32 * 1024**3
CHUNK_BYTES: Final = 4 * 1024 * 1024
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
REASONS: Final[Mapping[str, Reason]] = {
    "denied": Reason.FETCH_DENIED,
    "not_found": Reason.SOURCE_NOT_FOUND,
    "invalid": Reason.SPEC_INVALID,
    "corrupt": Reason.FILES_INVALID,
    "unsafe": Reason.FILES_INVALID,
    "too_large": Reason.FILES_INVALID,
}


@frozen(kw_only=True)
class Brought:
    """What was fetched: its digest, or the hub's commit, as a reader is told.

    `version` is what `Source.version` says of this very content; None where that was asked before it is still right.
    """

    digest: str
    version: str | None = None
    annotations: Mapping[str, str] = field(factory=dict)


class Source(Protocol):
    """One kind of source. Both methods raise AdapterRefusedError."""

    def version(self, wanted: WantedAdapter) -> str:
        """A text that changes when what is there changes, as cheaply as it can be had."""
        ...

    def fetch(self, wanted: WantedAdapter, folder: Path) -> Brought:
        """Puts the adapter's two files into `folder`, which does not exist yet."""
        ...


@frozen
class ImageSource:
    """OCI images as KAITO packs them, with the credentials below one folder of Secrets."""

    secrets: Path

    def version(self, wanted: WantedAdapter) -> str:
        """The digest that the tag points to now."""
        from inference_server.files.oci import image

        return _fetched(lambda: image.resolve(str(wanted.image), credentials=self._credentials(wanted.pull_secrets)))

    def fetch(self, wanted: WantedAdapter, folder: Path) -> Brought:
        """Pulls what lies below /data."""
        from inference_server.files.limits import Limits
        from inference_server.files.oci import image

        pulled = _fetched(
            lambda: image.pull(
                str(wanted.image),
                folder,
                credentials=self._credentials(wanted.pull_secrets),
                subfolder=contract.IMAGE_DATA_DIRECTORY,
                limits=Limits(max_bytes=MAX_ADAPTER_BYTES),
            )
        )
        # The tag may have moved since its digest was asked for.
        return Brought(digest=pulled.digest, version=pulled.named, annotations=pulled.annotations)

    def _credentials(self, secrets: Sequence[str]) -> Any:
        from inference_server.files.oci.credentials import Credentials

        folders = [self.secrets / name for name in secrets]
        return Credentials.of_folders([one for one in folders if one.is_dir()])


@frozen
class HubSource:
    """A repository of a Hugging Face hub. It keeps to the commit that it was first found at."""

    def version(self, wanted: WantedAdapter) -> str:
        """What was asked for: another commit is fetched when another one is named."""
        return str(wanted.hub)

    def fetch(self, wanted: WantedAdapter, folder: Path) -> Brought:
        """Downloads the two files and nothing else."""
        from inference_server.files import hub
        from inference_server.files.limits import Limits

        token = os.environ.get(contract.ENV_HUB_TOKEN) or None
        limits = Limits(max_bytes=MAX_ADAPTER_BYTES)
        fetched = _fetched(lambda: hub.fetch(str(wanted.hub), folder, token=token, patterns=FILES, limits=limits))
        return Brought(digest=fetched.revision)


@frozen
class FolderSource:
    """A folder of a mounted volume. It is copied: what the engine reads may not change after it was checked."""

    def version(self, wanted: WantedAdapter) -> str:
        """Sizes and times of the two files."""
        told = []
        for path in _paths(wanted):
            try:
                found = path.stat()
            except OSError as error:
                raise _without_tensors(path) or _unreadable(path, error) from error
            told.append(f"{path.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}")
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def fetch(self, wanted: WantedAdapter, folder: Path) -> Brought:
        """Copies the two files; the digest is that of their contents."""
        digest = hashlib.sha256()
        folder.mkdir(parents=True)
        for path in _paths(wanted):
            try:
                _copy(path, folder / path.name, digest)
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise
                raise _unreadable(path, error) from error
        return Brought(digest=f"sha256:{digest.hexdigest()}")


@frozen
class Sources:
    """The source for each adapter, by its kind."""

    image: Source
    hub: Source = field(factory=HubSource)
    folder: Source = field(factory=FolderSource)

    def of(self, wanted: WantedAdapter) -> Source:
        """The one that knows this adapter."""
        return self.image if wanted.image else self.folder if wanted.folder else self.hub


def _fetched(fetch: Callable[[], T]) -> T:
    """The result, with every failure of fetching as a refusal that says what happened."""
    from inference_server.files.errors import FetchError

    try:
        return fetch()
    except FetchError as error:
        raise AdapterRefusedError(
            reason=REASONS.get(error.kind.value, Reason.FETCH_FAILED),
            message=line(str(error)),
            retryable=error.retryable,
        ) from error


def _paths(wanted: WantedAdapter) -> list[Path]:
    return [Path(str(wanted.folder)) / name for name in FILES]


def _copy(source: Path, target: Path, digest: Any) -> None:
    left = MAX_ADAPTER_BYTES
    real = source.resolve(strict=True)
    if not real.is_relative_to(source.parent.resolve()):
        raise OSError(None, "it is a link out of its folder")
    descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as reading, target.open("xb") as writing:  # noqa: PTH123 (of a descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(None, "it is no regular file")
        while chunk := reading.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise OSError(None, f"it is larger than {MAX_ADAPTER_BYTES} bytes")
            digest.update(chunk)
            writing.write(chunk)


def _without_tensors(path: Path) -> AdapterRefusedError | None:
    """A folder that has an adapter, but not as safetensors, is not merely empty."""
    try:
        names = [one.name for one in path.parent.iterdir()]
    except OSError:
        return None
    if path.name != inspection.TENSORS_NAME or not any(name.endswith(inspection.PICKLED) for name in names):
        return None
    return AdapterRefusedError(reason=Reason.FILES_INVALID, message=inspection.missing_tensors(names), retryable=True)


def _unreadable(path: Path, error: OSError) -> AdapterRefusedError:
    missing = isinstance(error, FileNotFoundError)
    why = error.strerror or str(error)
    return AdapterRefusedError(
        reason=Reason.SOURCE_NOT_FOUND if missing else Reason.FETCH_FAILED,
        message=line(f"{path} cannot be read: {why}; put {' and '.join(FILES)} into the volume"),
        retryable=True,
    )
