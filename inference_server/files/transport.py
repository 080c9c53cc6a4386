"""The HTTP client: whom it trusts, and to which addresses it connects."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address

import httpcore
import httpx
from attrs import frozen

from inference_server.files.addresses import METADATA_NAMES, Policy
from inference_server.files.limits import Limits

# At INFO it writes down every URL, and signed ones are as good as passwords.
logging.getLogger("httpx").setLevel(logging.WARNING)

_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


@frozen
class AddressRefused(Exception):  # noqa: N818 - said as a sentence
    """A host that has an address which may not be connected to."""

    host: str
    reason: str


class GuardedBackend(httpcore.NetworkBackend):
    """Resolves a host, judges its addresses, and connects to the very ones it judged.

    So a name cannot point elsewhere between the check and the connection. TLS still asks for the host by its name:
    httpcore takes it from the URL, not from here.
    """

    def __init__(self, policy: Policy) -> None:
        """Connect as the policy says."""
        self._policy = policy
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that answers; raises `AddressRefused`."""
        failure: Exception | None = None
        for address in self._addresses(host, port):
            try:
                return self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def _addresses(self, host: str, port: int) -> list[str]:
        if host.rstrip(".").lower() in METADATA_NAMES:
            raise AddressRefused(host, "it is a metadata service of a cloud")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} does not resolve: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in addresses:
            if reason := self._policy.refusal(ip_address(text)):
                raise AddressRefused(host, f"it has the address {text}, and {reason}")
        return addresses


class _Transport(httpx.HTTPTransport):
    """httpx's own transport over a pool with a backend of ours, which its constructor has no argument for."""

    def __init__(self, context: ssl.SSLContext, backend: httpcore.NetworkBackend) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, max_connections=8, keepalive_expiry=30.0, network_backend=backend
        )


def client(policy: Policy, limits: Limits, *, authorities: str = "") -> httpx.Client:
    """A client that trusts the system's certificate authorities and those of a PEM bundle.

    It follows no redirect by itself, keeps no cookie, and takes neither proxies nor passwords (.netrc) from the
    environment: through a proxy, the address that is reached could not be judged here. Raises `ssl.SSLError` for a
    bundle that is none.
    """
    context = ssl.create_default_context()
    if authorities:
        context.load_verify_locations(cadata=authorities)
    timeout = httpx.Timeout(limits.read_timeout_s, connect=limits.connect_timeout_s)
    return httpx.Client(
        transport=_Transport(context, GuardedBackend(policy)),
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"User-Agent": "kaito-inference-server", "Accept-Encoding": "identity"},
    )
