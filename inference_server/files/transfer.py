"""Brings one body into a file: bounded, resumed where it broke off, and checked while it arrives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Final

import httpx
from attrs import define, evolve, field, frozen

from inference_server.files import disk
from inference_server.files.errors import FetchError, Kind
from inference_server.files.progress import Progress, silent
from inference_server.files.retry import Passing, pause
from inference_server.files.web import Ask, Web

_READ_BYTES: Final = 2**20
_WORTH_BYTES: Final = 2**20
"""Attempts that bring this much are not counted: the file gets done."""
_PASSING: Final = frozenset({Kind.UNREACHABLE, Kind.BUSY, Kind.DISK_FULL})
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@frozen(kw_only=True)
class Wanted:
    """What a body is to be.

    Attributes:
        max_bytes: the most that is taken.
        size: exactly this long, where it is known before.
        digest: `sha256:…`, where it is known before.
    """

    max_bytes: int
    size: int | None = None
    digest: str = ""


def save(
    web: Web,
    ask: Ask,
    path: Path,
    wanted: Wanted,
    progress: Progress = silent,
    *,
    opening: Callable[[Ask], httpx.Response] | None = None,
    resume: bool = False,
) -> str:
    """Write the body to a file and return its digest, `sha256:…`. Raises `FetchError`, and leaves no file then.

    `opening` sends the requests, where plain `web.open` is not let in. With `resume`, which needs a known digest, what
    is in the file already is the beginning, and a failure that may pass leaves what came until then.
    """
    try:
        with disk.writing(ask.subject), path.open("r+b" if resume and path.exists() else "w+b") as file:
            transfer = _Transfer(
                web=web,
                opening=opening or web.open,
                ask=ask,
                file=file,
                path=path,
                wanted=wanted,
                progress=progress,
            )
            if resume and wanted.digest:
                transfer.take_up()
            return transfer.run()
    except BaseException as error:
        if not (resume and isinstance(error, FetchError) and error.kind in _PASSING):
            path.unlink(missing_ok=True)
        raise


@define(kw_only=True)
class _Transfer:
    """One body on its way. `validator` names the version of the file that the first bytes are from."""

    web: Web
    opening: Callable[[Ask], httpx.Response]
    ask: Ask
    file: IO[bytes]
    path: Path
    wanted: Wanted
    progress: Progress
    done: int = 0
    total: int | None = None
    validator: str = ""
    hash: hashlib._Hash = field(factory=hashlib.sha256)

    def take_up(self) -> None:
        """Count what an earlier attempt left in the file; whether it is right, the digest of the whole will tell."""
        while chunk := self.file.read(_READ_BYTES):
            self.hash.update(chunk)
            self.done += len(chunk)
        if self.wanted.size is not None and self.done > self.wanted.size:
            self._restart()

    def run(self) -> str:
        failures, furthest = 0, self.done
        while self.wanted.size is None or self.done < self.wanted.size or not self.done:
            try:
                self._attempt()
                break
            except Passing as failure:
                # A server that begins anew again and again gets no further, however much it sends.
                failures = 0 if self.done - furthest >= _WORTH_BYTES else failures + 1
                furthest = max(furthest, self.done)
                if failures >= self.web.limits.attempts:
                    raise self._broken(failure.error) from failure
                pause(failures, failure.error, self.web.clock, self.web.limits)
        return self._checked()

    def _attempt(self) -> None:
        with closing(self.opening(self._request())) as response:
            self._begin(response)
            for chunk in self.web.body(response, self.ask.subject):
                self.file.write(chunk)
                self.hash.update(chunk)
                self.done += len(chunk)
                self._bound(self.done)
                self.progress(self.done, self.total)

    def _request(self) -> Ask:
        if not self.done:
            return self.ask
        condition = {"If-Range": self.validator} if self.validator else {}
        return evolve(self.ask, headers={**self.ask.headers, "Range": f"bytes={self.done}-", **condition})

    def _begin(self, response: httpx.Response) -> None:
        status = response.status_code
        span = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if status == 206 and span and self.done and int(span[1]) == self.done:  # noqa: PLR2004
            total = int(span[3]) if span[3] != "*" else None
            if total != self.total and self.total is not None:
                raise self._corrupt(f"it was {self.total} bytes long, and now is {total}")
            self.total = total if total is not None else self.wanted.size
            return
        if self.done:
            # Another version, or a server that does not send parts: all of it again.
            self._restart()
            if status != 200:  # noqa: PLR2004
                raise Passing(self._corrupt(f"the rest cannot be had (status {status})"))
        if status != 200:  # noqa: PLR2004
            raise self.web.refusal(response, self.ask)
        length = response.headers.get("Content-Length", "")
        self.total = int(length) if length.isascii() and length.isdigit() else self.wanted.size
        self.validator = _validator(response.headers)
        self._bound(self.total or 0)
        # Before room is asked for, so that who is told may make some.
        self.progress(0, self.total)
        disk.require_room(self.path.parent, self.total or 0, self.ask.subject)

    def _restart(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.hash = hashlib.sha256()
        self.done = 0

    def _bound(self, length: int) -> None:
        if self.wanted.size is not None and length > self.wanted.size:
            raise self._corrupt(f"it has {length} bytes or more, and {self.wanted.size} are announced")
        if length > self.wanted.max_bytes:
            raise FetchError(
                kind=Kind.TOO_LARGE,
                subject=self.ask.subject,
                found=f"it has {length} bytes or more, and {self.wanted.max_bytes} are taken at most",
            )

    def _checked(self) -> str:
        size = self.wanted.size if self.wanted.size is not None else self.total
        if size is not None and self.done != size:
            raise self._corrupt(f"it ends after {self.done} of {size} bytes")
        digest = f"sha256:{self.hash.hexdigest()}"
        if self.wanted.digest not in {"", digest}:
            raise self._corrupt(f"its digest is {digest}, and {self.wanted.digest} is announced")
        return digest

    def _broken(self, error: FetchError) -> FetchError:
        of = f" of {self.total}" if self.total is not None else ""
        return evolve(error, found=f"{error.found} (after {self.done}{of} bytes)")

    def _corrupt(self, found: str) -> FetchError:
        return FetchError(
            kind=Kind.CORRUPT, subject=self.ask.subject, found=found, remedy="try again, or upload it anew"
        )


def _validator(headers: httpx.Headers) -> str:
    """What If-Range takes: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    etag: str = headers.get("ETag", "")
    date: str = headers.get("Last-Modified", "")
    return etag if etag.startswith('"') else date
