"""The one way out over HTTP: aiohttp, with every answer bounded in bytes and time. Imported only where it is used."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from kaito_controller.machinery.rest.proxy import proxy_of_environment
from kaito_controller.machinery.rest.user_agent import user_agent
from kaito_controller.sources.errors import SourceError, Trouble, malformed, too_large
from kaito_controller.sources.trust import trusting
from kaito_controller.sources.web import (
    Answer,
    Ask,
    Span,
    host_of,
    is_link_local,
    origin,
    redirected,
    refuse_link_local,
)
from kaito_controller.sources.wording import size_text

TIMEOUT_S: Final = 30.0
"""One question with all its redirects; the answers are small."""
REDIRECTS: Final = 5
CONNECTIONS: Final = 16
CHUNK_BYTES: Final = 2**16
RETRY_AFTER_S: Final = 3600.0
"""The longest wait that a server may ask for."""
REDIRECT: Final = frozenset({301, 302, 303, 307, 308})
CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(?:\d{1,19}|\*)")


class AioWeb:
    """HTTP by aiohttp. Use it as an async context.

    Args:
        timeout_s: seconds for one question with all its redirects.
        proxy: the proxy for a URL; the environment's unless given.
        now: the wall clock, against which a server's date to come back at is held.
    """

    def __init__(
        self,
        *,
        timeout_s: float = TIMEOUT_S,
        proxy: Callable[[str], str | None] = proxy_of_environment,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._timeout_s = timeout_s
        self._proxy = proxy
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, resolver=_Resolver()),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": user_agent("kaito-controller"), "Accept-Encoding": "identity"},
            # A few bytes may decode to gigabytes: nothing is asked for in another encoding, nothing is decoded.
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, ask: Ask) -> Answer:
        """Ask, and follow redirects; the authorization goes no further than the first host."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._followed(ask)
        except TimeoutError as error:
            rule = f"{host_of(ask.url)} must answer within {self._timeout_s:g} s; it did not"
            raise SourceError(Trouble.UNREACHABLE, f"{ask.what}: {rule}: try again later") from error
        except aiohttp.ClientConnectorCertificateError as error:
            remedy = "add its authority (SSL_CERT_FILE, or ca.crt in the pull Secret of a registry)"
            found = f"the certificate of {error.host}:{error.port} is not trusted here: {remedy}"
            raise SourceError(Trouble.UNREACHABLE, f"{ask.what}: {found}") from error
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
            found = "ended before it was complete"
            raise SourceError(Trouble.UNREACHABLE, f"{ask.what}: the answer of {host_of(ask.url)} {found}") from error
        except aiohttp.ClientConnectionError as error:
            remedy = "check the address, the network and the proxy (HTTPS_PROXY), or name a local folder"
            found = f"{host_of(ask.url)} cannot be reached ({_reason(error)})"
            raise SourceError(Trouble.UNREACHABLE, f"{ask.what}: {found}: {remedy}") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise malformed(f"{ask.what}: {host_of(ask.url)} must speak HTTP; {type(error).__name__}") from error

    async def _followed(self, ask: Ask) -> Answer:
        url, authorization = ask.url, ask.authorization
        for _ in range(REDIRECTS + 1):
            answer = await self._once(ask, url, authorization)
            if answer.status not in REDIRECT or "location" not in answer.headers:
                return answer
            target = redirected(ask, url, answer.headers["location"])
            # What another host got once it may have kept: a way back does not make it trusted again.
            authorization = authorization if origin(target) == origin(url) else ""
            url = target
        raise malformed(f"{ask.what}: {host_of(ask.url)} redirects more than {REDIRECTS} times")

    async def _once(self, ask: Ask, url: str, authorization: str) -> Answer:
        refuse_link_local(ask.what, origin(url)[1])
        if self._session is None:
            raise RuntimeError("AioWeb: enter it as an async context before it is used")
        headers = {"Accept": ask.accept}
        if authorization:
            headers["Authorization"] = authorization
        if ask.span is not None:
            headers["Range"] = str(ask.span)
        trusted = trusting(ask.authority) if ask.authority else True
        sent = self._session.get(
            URL(url, encoded=True),
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy(url) or None,
            ssl=trusted,
        )
        async with sent as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            self._refuse_busy(ask, url, response.status, found)
            if response.status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                return Answer(status=response.status, headers=found)
            return Answer(status=response.status, headers=found, body=await _body(ask, response, found))

    def _refuse_busy(self, ask: Ask, url: str, status: int, headers: dict[str, str]) -> None:
        if status != HTTPStatus.TOO_MANY_REQUESTS and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        wait = self._retry_after_s(headers.get("retry-after", ""))
        when = f"in {wait:g} s" if wait is not None else "later"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            why = f"{host_of(url)} takes no more requests for now (429): it is asked again {when}, or give a token"
        else:
            why = f"{host_of(url)} failed ({status}): it is asked again {when}"
        raise SourceError(Trouble.BUSY, f"{ask.what}: {why}", retry_after_s=wait)

    def _retry_after_s(self, header: str) -> float | None:
        if header.isascii() and header.isdecimal() and len(header) < 10:  # noqa: PLR2004 (more is no sensible wait)
            return min(float(header), RETRY_AFTER_S)
        try:
            moment = parsedate_to_datetime(header)
            return min(max((moment - self._now()).total_seconds(), 0.0), RETRY_AFTER_S)
        except (TypeError, ValueError, OverflowError):
            return None


async def _body(ask: Ask, response: aiohttp.ClientResponse, headers: dict[str, str]) -> bytes:
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() not in {"", "identity"}:
        raise malformed(f"{ask.what}: {host_of(ask.url)} must answer without compression, as asked; it compresses")
    if ask.span is not None:
        return await _part(ask, ask.span, response, headers)
    declared = response.content_length
    if declared is not None and declared > ask.limit_bytes:
        rule = f"is read up to {size_text(ask.limit_bytes)}"
        raise too_large(f"{ask.what}: {rule}; {host_of(ask.url)} has {size_text(declared)} of it, so it is not read")
    body = await _start(response, ask.limit_bytes + 1)
    if len(body) > ask.limit_bytes:
        raise too_large(f"{ask.what}: is read up to {size_text(ask.limit_bytes)}; {host_of(ask.url)} sends more")
    return body


async def _part(ask: Ask, span: Span, response: aiohttp.ClientResponse, headers: dict[str, str]) -> bytes:
    if response.status == HTTPStatus.OK:
        if span.start:
            rule = "must answer requests for a part of a file (Range)"
            raise SourceError(Trouble.UNSUPPORTED, f"{ask.what}: {host_of(ask.url)} {rule}; it sends the whole file")
        return (await _start(response, span.length))[: span.length]
    said = CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if said is None or int(said[1]) != span.start or int(said[2]) >= span.start + span.length:
        raise malformed(f"{ask.what}: {host_of(ask.url)} must send the part that was asked for; it sends another")
    length = int(said[2]) - int(said[1]) + 1
    body = await _start(response, length + 1)
    if len(body) != length:
        raise malformed(f"{ask.what}: {host_of(ask.url)} must send the {length} bytes that it declares; it does not")
    return body


async def _start(response: aiohttp.ClientResponse, length: int) -> bytes:
    """The body's first bytes, at least so many unless it ends; the rest stays unread."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) >= length:
            break
    return bytes(body)


class _Resolver(ThreadedResolver):
    """Names that resolve to addresses of the machine's own link resolve to nothing."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = [one for one in await super().resolve(host, port, family) if not is_link_local(one["host"])]
        if not found:
            raise OSError(f"{host} has no address that may be asked")
        return found


def _reason(error: Any) -> str:
    """The system's words, without addresses: a signed address is a secret."""
    cause = getattr(error, "os_error", None) or error.__cause__ or error
    return str(getattr(cause, "strerror", None) or type(cause).__name__)
