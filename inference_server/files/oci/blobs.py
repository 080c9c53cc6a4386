"""Blobs of one repository: pulled into files, and pushed in one piece or in several.

Source: OCI distribution specification v1.1, "Pulling blobs" and "Pushing blobs".
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, Self

import httpx
from attrs import evolve, frozen

from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import DOCUMENT_MAX_BYTES
from inference_server.files.oci.manifest import Descriptor
from inference_server.files.oci.session import Session
from inference_server.files.progress import Progress
from inference_server.files.retry import Passing, pause, persistently
from inference_server.files.transfer import Wanted, save
from inference_server.files.web import Answer, Ask, refusal_of, same_origin

CHUNK_BYTES: Final = 64 * 2**20
"""Blobs above this are pushed in pieces of it, so that a broken connection costs one piece."""

_READ_BYTES: Final = 2**18
_OK: Final = 200
_CREATED: Final = 201
_ACCEPTED: Final = 202
_NO_CONTENT: Final = 204
_NO_PIECES: Final = frozenset({404, 405, 413, 416, 501})
_NO_MOUNT: Final = frozenset({400, 404, 405, 501})
"""Before version 1.1 of the specification, a mount had to name the repository that it is from."""
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,18})")


@frozen(kw_only=True)
class Blob:
    """Content to push: `open` gives it anew for each attempt."""

    open: Callable[[], IO[bytes]]
    size: int
    digest: str

    @classmethod
    def of_file(cls, path: Path, digest: str) -> Self:
        """A file's content."""
        return cls(open=lambda: path.open("rb"), size=path.stat().st_size, digest=digest)

    @classmethod
    def of_bytes(cls, content: bytes, digest: str) -> Self:
        """Content in memory."""
        return cls(open=lambda: io.BytesIO(content), size=len(content), digest=digest)

    def piece(self, start: int, end: int, told: Callable[[int], None]) -> Iterator[bytes]:
        """The bytes from `start` up to `end`, telling how far it is."""
        with self.open() as stream:
            stream.seek(start)
            while start < end and (chunk := stream.read(min(_READ_BYTES, end - start))):
                yield chunk
                start += len(chunk)
                told(start)


def pull(session: Session, wanted: Descriptor, path: Path, progress: Progress, *, resume: bool = False) -> None:
    """Bring a blob into a file, checked against its digest. Raises `FetchError`, and leaves no file then.

    With `resume` a failure that may pass leaves what came, and the next call goes on from there.
    """
    ask = session.ask(session.url(f"blobs/{wanted.digest}"))
    described = Wanted(max_bytes=session.web.limits.max_bytes, size=wanted.size, digest=wanted.digest)
    save(session.web, ask, path, described, progress, opening=session.open, resume=resume)


def in_turn(
    layers: Sequence[Descriptor], progress: Progress, max_bytes: int, subject: str
) -> Iterator[tuple[Descriptor, Progress]]:
    """The layers, each with a progress that counts it among all. Raises `FetchError` (too_large) before the first."""
    total = sum(layer.size for layer in layers)
    if total > max_bytes:
        raise FetchError(
            kind=Kind.TOO_LARGE,
            subject=subject,
            found=f"its layers have {total} bytes, and {max_bytes} are taken at most",
            remedy="pack only the files that are needed",
        )
    before = 0
    for layer in layers:
        yield layer, _shifted(progress, before, total)
        before += layer.size


def push(session: Session, blob: Blob, progress: Progress) -> None:
    """Push a blob unless the registry has it, or takes it over from another repository. Raises `FetchError`."""
    _Upload(session=session, blob=blob, progress=progress).run()


@frozen(kw_only=True)
class _Upload:
    """One blob on its way to a repository."""

    session: Session
    blob: Blob
    progress: Progress

    def run(self) -> None:
        if self._is_there():
            self.progress(self.blob.size, self.blob.size)
            return
        location = self._begin(mount=True)
        if location and self.blob.size > CHUNK_BYTES:
            location = self._in_pieces(location)
        if location:
            self._at_once(location)

    def _is_there(self) -> bool:
        ask = self.session.ask(self.session.url(f"blobs/{self.blob.digest}"), method="HEAD")
        return self.session.read(ask, DOCUMENT_MAX_BYTES).status == _OK

    def _begin(self, *, mount: bool = False) -> str:
        """Where to upload to; empty when the registry found the blob in another repository of its own."""
        query = f"?mount={self.blob.digest}" if mount else ""
        url = self.session.url(f"blobs/uploads/{query}")
        ask = evolve(self.session.ask(url, method="POST"), content=lambda: [b""])
        answer = self.session.read(ask, DOCUMENT_MAX_BYTES)
        if answer.status == _CREATED:
            return ""
        if mount and answer.status in _NO_MOUNT:
            return self._begin()
        if answer.status != _ACCEPTED:
            raise refusal_of(answer, ask)
        return _location(self.session, answer, ask)

    def _at_once(self, location: str) -> None:
        """Send all of it in the request that ends the upload; after a failure, in a new upload."""

        def attempt() -> None:
            nonlocal location
            location = location or self._begin()
            ask = self._sending("PUT", _with_digest(location, self.blob), 0, self.blob.size)
            location = ""
            self._end(self.session.once(ask), ask)

        persistently(attempt, self.session.web.clock, self.session.web.limits)

    def _in_pieces(self, location: str) -> str:
        """Send it piece by piece. Returns "" when all is there, or where to begin anew at a registry without pieces."""
        start, failures, web = 0, 0, self.session.web
        while start < self.blob.size:
            end = min(start + CHUNK_BYTES, self.blob.size)
            ask = self._sending("PATCH", location, start, end)
            try:
                answer = self.session.once(ask)
            except Passing as failure:
                failures += 1
                if failures >= web.limits.attempts:
                    raise failure.error from failure
                pause(failures - 1, failure.error, web.clock, web.limits)
                location, start = self._resumed(location)
                continue
            if answer.status in _NO_PIECES:
                return self._begin()
            if answer.status != _ACCEPTED:
                raise refusal_of(answer, ask)
            location, before, start = _location(self.session, answer, ask), start, _received(answer, end)
            failures = 0 if start > before else failures + 1
            if failures >= web.limits.attempts:
                raise refusal_of(answer, ask)
        ask = self._sending("PUT", _with_digest(location, self.blob), self.blob.size, self.blob.size)
        self._end(self.session.read(ask, DOCUMENT_MAX_BYTES), ask)
        return ""

    def _resumed(self, location: str) -> tuple[str, int]:
        """Ask the registry how far an upload is."""
        ask = self.session.ask(location)
        answer = self.session.read(ask, DOCUMENT_MAX_BYTES)
        if answer.status not in {_NO_CONTENT, _ACCEPTED, _OK}:
            raise refusal_of(answer, ask)
        return _location(self.session, answer, ask), _received(answer, 0)

    def _sending(self, method: str, location: str, start: int, end: int) -> Ask:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - start)}
        if method == "PATCH":
            headers["Content-Range"] = f"{start}-{end - 1}"

        def content() -> Iterable[bytes]:
            return self.blob.piece(start, end, lambda done: self.progress(done, self.blob.size))

        return evolve(self.session.ask(location, method=method, headers=headers), content=content)

    def _end(self, answer: Answer, ask: Ask) -> None:
        # When the answer to a first attempt was lost, the upload is over, and the second finds none.
        if answer.status not in {_CREATED, _NO_CONTENT, _OK} and not self._is_there():
            raise refusal_of(answer, ask)


def _location(session: Session, answer: Answer, ask: Ask) -> str:
    """Where an upload goes on: at the registry itself, so that nobody else gets the credentials or the content."""
    here = httpx.URL(answer.url)
    try:
        there = here.join(answer.headers.get("Location", ""))
    except httpx.InvalidURL:
        there = here
    if there == here and "Location" not in answer.headers:
        raise FetchError(kind=Kind.CORRUPT, subject=ask.subject, found=f"{here.host} names no place for an upload")
    if there.scheme == "http" and here.scheme == "https" and there.host == here.host:
        # Registries behind a proxy that ends TLS are known to say http of themselves.
        there = there.copy_with(scheme="https", port=here.port)
    if not same_origin(there, httpx.URL(session.base)):
        raise FetchError(
            kind=Kind.UNSAFE,
            subject=ask.subject,
            found=f"{here.host} wants uploads at {there.host}, which is not itself",
            remedy="let the registry take uploads at its own address",
        )
    return str(there)


def _received(answer: Answer, otherwise: int) -> int:
    found = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
    # An upload without content has the range 0-0, as one of a single byte has.
    last = int(found[1]) if found else otherwise - 1
    return last + 1 if last > 0 else 0


def _with_digest(location: str, blob: Blob) -> str:
    return str(httpx.URL(location).copy_add_param("digest", blob.digest))


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    def told(bytes_done: int, _: int | None, /) -> None:
        progress(before + bytes_done, total)

    return told
