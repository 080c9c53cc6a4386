"""HTTP requests with retries and redirects; every failure is a FetchError."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx
from attrs import evolve, field, frozen

from inference_server.files.clock import Clock
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import DOCUMENT_MAX_BYTES, Limits
from inference_server.files.retry import Passing, persistently, retry_after_s
from inference_server.files.transport import AddressRefused

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 8
_MAX_URL_LENGTH: Final = 16 * 1024
_TOLD_BYTES: Final = 4096
_PORTS: Final = {"http": 80, "https": 443}


@frozen(kw_only=True)
class Ask:
    """One request.

    Attributes:
        url: where.
        subject: what messages call it.
        method: GET, HEAD, POST, PUT or PATCH.
        headers: beside the client's own; Authorization is not sent on to another origin.
        content: makes the body, anew for each attempt.
        denied: what to do about 401 and 403.
    """

    url: str = field(repr=False)
    subject: str
    method: str = "GET"
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    content: Callable[[], Iterable[bytes]] | None = None
    denied: str = "give credentials that may read it"


@frozen(kw_only=True)
class Answer:
    """A response that was read whole."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)
    url: str = field(repr=False)


@frozen(kw_only=True)
class Web:
    """Asks with one client."""

    client: httpx.Client
    limits: Limits
    clock: Clock

    def open(self, ask: Ask) -> httpx.Response:
        """Send a request and return the response with its body unread; the caller closes it.

        Redirects are followed, and answers that say "later" are waited for. Any other status is the caller's.
        """
        return persistently(lambda: self._followed(ask), self.clock, self.limits)

    def read(self, ask: Ask, max_bytes: int = DOCUMENT_MAX_BYTES) -> Answer:
        """Send a request and read the response; raises `FetchError` (too_large) beyond `max_bytes`."""
        return persistently(lambda: self.once(ask, max_bytes), self.clock, self.limits)

    def body(self, response: httpx.Response, subject: str) -> Iterator[bytes]:
        """The body as it arrives. Raises `Passing` when it breaks off or is too slow."""
        began, arrived = self.clock.monotonic(), 0
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError(
                kind=Kind.CORRUPT,
                subject=subject,
                found=f"{_host(response.url)} compresses the answer although it is asked not to",
                remedy="let the server send the file as it is, without Content-Encoding",
            )
        try:
            for chunk in response.iter_raw():
                yield chunk
                arrived += len(chunk)
                passed_s = self.clock.monotonic() - began
                if passed_s >= self.limits.slow_window_s:
                    if arrived < passed_s * self.limits.min_bytes_per_second:
                        raise Passing(_slow(subject, response, arrived, passed_s))
                    began, arrived = self.clock.monotonic(), 0
        except httpx.TransportError as error:
            raise Passing(unreachable(error, subject, _host(response.url))) from error

    def once(self, ask: Ask, max_bytes: int = DOCUMENT_MAX_BYTES) -> Answer:
        """The same in a single attempt; raises `Passing` for what another one may mend."""
        with closing(self._followed(ask)) as response:
            found = bytearray()
            for chunk in self.body(response, ask.subject) if ask.method != "HEAD" else ():
                found += chunk
                if len(found) > max_bytes:
                    raise FetchError(
                        kind=Kind.TOO_LARGE,
                        subject=ask.subject,
                        found=f"{_host(response.url)} answers with more than {max_bytes} bytes",
                    )
            return Answer(
                status=response.status_code, headers=response.headers, body=bytes(found), url=str(response.url)
            )

    def _followed(self, ask: Ask) -> httpx.Response:
        for _ in range(_MAX_REDIRECTS):
            response = self._sent(ask)
            if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                return self._settled(response, ask)
            with closing(response):
                ask = _redirected(ask, response)
        raise FetchError(
            kind=Kind.INVALID, subject=ask.subject, found=f"it is redirected more than {_MAX_REDIRECTS} times"
        )

    def _sent(self, ask: Ask) -> httpx.Response:
        content = ask.content() if ask.content else None
        try:
            request = self.client.build_request(ask.method, ask.url, headers=dict(ask.headers), content=content)
            return self.client.send(request, stream=True)
        except AddressRefused as refused:
            raise FetchError(
                kind=Kind.UNSAFE,
                subject=ask.subject,
                found=f"{refused.host} may not be connected to: {refused.reason}",
                remedy="use a public address, or let an administrator allow its network",
            ) from refused
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise FetchError(
                kind=Kind.INVALID, subject=ask.subject, found=f"its URL cannot be used: {error}"
            ) from error
        except httpx.TransportError as error:
            failure = unreachable(error, ask.subject, host_of(ask.url))
            if is_distrust(error) or not failure.retryable:
                raise failure from error
            raise Passing(failure) from error

    def _settled(self, response: httpx.Response, ask: Ask) -> httpx.Response:
        if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and response.status_code != 429:  # noqa: PLR2004
            return response
        with closing(response):
            after_s = retry_after_s(response.headers.get("Retry-After", "").strip(), self.clock)
            raise Passing(evolve(self.refusal(response, ask), retry_after_s=after_s))

    def refusal(self, response: httpx.Response, ask: Ask) -> FetchError:
        """What a status other than success means. Reads the start of the body, for what the server says itself."""
        return _refused(response.status_code, _host(response.url), _said(self._start(response, ask.subject)), ask)

    def _start(self, response: httpx.Response, subject: str) -> bytes:
        """The body, if it is short and does not trickle."""
        start = b""
        try:
            for chunk in self.body(response, subject):
                start += chunk
                if len(start) > _TOLD_BYTES:
                    return b""
        except (Passing, FetchError, httpx.StreamError):
            return b""
        return start


def refusal_of(answer: Answer, ask: Ask) -> FetchError:
    """The same of an answer that was read."""
    return _refused(answer.status, host_of(answer.url), _said(answer.body), ask)


def _refused(status: int, host: str, said: str, ask: Ask) -> FetchError:
    told = f"{host} answers {status} {_phrase(status)}{f' ({said})' if said else ''}"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return FetchError(kind=Kind.DENIED, subject=ask.subject, found=told, remedy=ask.denied)
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return FetchError(kind=Kind.NOT_FOUND, subject=ask.subject, found=told, remedy="check its name")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return FetchError(kind=Kind.BUSY, subject=ask.subject, found=told, remedy="try again later")
    return FetchError(kind=Kind.INVALID, subject=ask.subject, found=told)


def unreachable(error: Exception, subject: str, host: str) -> FetchError:
    """What a connection that fails means."""
    if is_distrust(error):
        remedy = "put the certificate of who signed it as ca.crt beside the credentials"
        return FetchError(
            kind=Kind.UNREACHABLE, subject=subject, found=f"{host} is not trusted: {_cause(error)}", remedy=remedy
        )
    if isinstance(error, httpx.LocalProtocolError):
        # Its text repeats the header that it refuses, and that may be the one with the password.
        return FetchError(kind=Kind.INVALID, subject=subject, found=f"what {host} is asked is no HTTP request")
    if isinstance(error, httpx.ConnectTimeout):
        found = f"{host} does not accept a connection in time"
    elif isinstance(error, httpx.TimeoutException):
        found = f"{host} does not answer in time"
    elif isinstance(error, httpx.RemoteProtocolError):
        return FetchError(
            kind=Kind.CORRUPT, subject=subject, found=f"{host} breaks off its answer: {error}", remedy="try again later"
        )
    else:
        found = f"{host} cannot be reached: {_cause(error)}"
    return FetchError(kind=Kind.UNREACHABLE, subject=subject, found=found, remedy="check the name and the network")


def is_distrust(error: BaseException) -> bool:
    """Whether a connection failed because of the server's certificate."""
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in chain(error))


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from."""
    seen: BaseException | None = error
    for _ in range(10):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def host_of(url: str) -> str:
    """The host and port of a URL, for messages; it never has a password."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the server"
    except ValueError:
        return "the server"


def is_token(text: str) -> bool:
    """Whether a header can carry the text as a token: without spaces, line ends and anything that is not ASCII."""
    return text.isascii() and text.isprintable() and " " not in text


def shown(url: str) -> str:
    """A URL without what may be secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return repr(url[:80].partition("?")[0])
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:500]


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether scheme, host and port agree."""
    return _origin(one) == _origin(other)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def _redirected(ask: Ask, response: httpx.Response) -> Ask:
    location = response.headers["Location"]
    here = response.url
    if ask.method not in {"GET", "HEAD"}:
        raise FetchError(
            kind=Kind.INVALID,
            subject=ask.subject,
            found=f"{_host(here)} redirects a {ask.method}, which has no meaning",
        )
    try:
        urlsplit(location)  # it looks at brackets, which httpx does not
        there = here.join(location) if len(location) <= _MAX_URL_LENGTH else None
    except (httpx.InvalidURL, ValueError):
        there = None
    if there is None or there.scheme not in _PORTS or not there.host:
        raise FetchError(kind=Kind.INVALID, subject=ask.subject, found=f"{_host(here)} redirects to no web address")
    if here.scheme == "https" and there.scheme == "http":
        raise FetchError(
            kind=Kind.UNSAFE,
            subject=ask.subject,
            found=f"{_host(here)} redirects from https to http, at {there.host}",
            remedy="use an address that stays with https",
        )
    if same_origin(here, there):
        return evolve(ask, url=str(there))
    kept = {name: text for name, text in ask.headers.items() if name.lower() not in {"authorization", "cookie"}}
    return evolve(ask, url=str(there.copy_with(userinfo=b"")), headers=kept)


def _said(body: bytes) -> str:
    """What the server itself says in an error of a registry or hub; empty when it says nothing of that form."""
    try:
        document = json.loads(body[: _TOLD_BYTES + 1])
    except (ValueError, RecursionError):
        return ""
    errors = document.get("errors") if isinstance(document, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    told = [str(first[key])[:200] for key in ("code", "message") if first.get(key)] if isinstance(first, dict) else []
    return ": ".join(told)


def _slow(subject: str, response: httpx.Response, arrived: int, passed_s: float) -> FetchError:
    found = f"{_host(response.url)} sends {arrived} bytes in {passed_s:.0f} s, which would take for ever"
    return FetchError(kind=Kind.UNREACHABLE, subject=subject, found=found, remedy="try again later")


def _host(url: httpx.URL) -> str:
    return f"{url.host}:{url.port}" if url.port else url.host


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _cause(error: BaseException) -> str:
    return next((str(one) for one in reversed(list(chain(error))) if str(one)), type(error).__name__)[:300]
