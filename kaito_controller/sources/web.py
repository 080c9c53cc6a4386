"""What is asked of HTTP: bounded answers, and headers that stay with the host they are meant for."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import urljoin, urlsplit

from attrs import field, frozen

from kaito_controller.sources.errors import SourceError, Trouble, malformed

PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
URL_LIMIT: Final = 8192


@frozen(kw_only=True)
class Span:
    """A part of a file: that many bytes from there on."""

    start: int
    length: int

    def __str__(self) -> str:
        return f"bytes={self.start}-{self.start + self.length - 1}"


@frozen(kw_only=True)
class Ask:
    """One GET.

    Attributes:
        what: what is asked for, as messages call it.
        limit_bytes: the longest answer that is read; a longer one is an error before it is read.
        authorization: sent to the URL's own host only, never to where it redirects.
        authority: certificates in PEM that are trusted beside the system's, of where it redirects to as well.
        span: the part that is wanted; None for all.
    """

    url: str
    what: str
    limit_bytes: int
    accept: str = "*/*"
    authorization: str = field(default="", repr=False)
    authority: str = field(default="", repr=False)
    span: Span | None = None


@frozen(kw_only=True)
class Answer:
    """What came: the body of a success only, and header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


class Web(Protocol):
    """HTTP as the sources need it."""

    async def get(self, ask: Ask) -> Answer:
        """The answer of the last host that redirects led to, whatever its status below 500.

        Raises:
            SourceError: no answer, one that is too long or broken, 429, or 5xx.
        """
        ...


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: who is asked.

    Raises:
        ValueError: it is no URL of HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(url)
    return parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]


def host_of(url: str) -> str:
    """The host and its port, as messages name it: no path, no query, no user."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def redirected(ask: Ask, base: str, location: str) -> str:
    """Where a redirect leads.

    Raises:
        SourceError: to something that is not followed.
    """
    try:
        target = urljoin(base, location)
        scheme, host, _ = origin(target)
    except ValueError:
        raise malformed(f"{ask.what}: {host_of(base)} must redirect to an address of HTTP; it does not") from None
    if len(target) > URL_LIMIT or not all("!" <= character <= "~" for character in target):
        raise malformed(f"{ask.what}: {host_of(base)} redirects to an address that is too long or no address")
    if scheme == "http" and base.startswith("https:"):
        rule = "must not redirect from HTTPS to HTTP, where anybody may read and change the answer"
        raise SourceError(Trouble.DENIED, f"{ask.what}: {host_of(base)} {rule}; it redirects to {host_of(target)}")
    refuse_link_local(ask.what, host)
    return target


def refuse_link_local(what: str, host: str) -> None:
    """Refuse addresses of the own link, where clouds serve the credentials of the machine.

    Raises:
        SourceError: it is one.
    """
    if is_link_local(host):
        raise SourceError(Trouble.DENIED, f"{what}: {host} is an address of the machine's own link: none is asked")


def is_link_local(host: str) -> bool:
    """Whether a host is such an address; a name is not, whatever it resolves to."""
    try:
        address = ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_link_local or bool(mapped and mapped.is_link_local)


def is_this_machine(url: str) -> bool:
    """Whether a URL's host is this machine, so that nothing of it goes over a network."""
    host = origin(url)[1]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_open_secret(what: str, url: str) -> None:
    """Refuse to send a secret where it can be read on the way: over HTTP, except to this machine.

    Raises:
        SourceError: it could be.
    """
    if url.startswith("https:") or is_this_machine(url):
        return
    found = f"{host_of(url)} is asked over HTTP: use https://, or no token"
    raise SourceError(Trouble.DENIED, f"{what}: a token is sent over HTTPS only; {found}")
