"""The certificate of a server of ours: read from files that change under it, or made by itself."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from attrs import define, field, frozen

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

LOOK_S: Final = 10.0
"""How often the files are read again; controller-runtime's certwatcher does it as often."""

log = logger(__name__)


class CertificateError(Exception):
    """A certificate and its key cannot be used; the message says which and why."""


@frozen(kw_only=True)
class Pair:
    """A certificate with its chain and its private key, in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    def context(self) -> ssl.SSLContext:
        """What a server needs to speak TLS with it. Raises `CertificateError` when they do not go together."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Through memory, so that both are of one moment and no key is written to a disk.
            with _file(self.certificate) as certificate, _file(self.key) as key:
                context.load_cert_chain(certificate, key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise CertificateError(f"certificate and key cannot be used together: {error}") from error
        return context


class Certificate(Protocol):
    """Serves TLS with whatever pair is current."""

    @property
    def context(self) -> ssl.SSLContext:
        """For the server's socket; new handshakes use the current pair, open connections live on."""
        ...

    async def run(self) -> None:
        """Keep the pair current until cancelled."""
        ...


@define
class ReloadedCertificate:
    """Takes a pair from a source, and looks for a newer one every ten seconds.

    A pair that cannot be used is counted and logged, and the one before it stays in use. Only the first must be good.
    Files are compared by what is in them, so it makes no difference how they are replaced: kubelet swaps a symbolic
    link, others rename or write in place.

    Args:
        source: gives the pair; raises `CertificateError` or OSError when it cannot.

    Raises:
        CertificateError: the first pair cannot be used.
    """

    source: Callable[[], Pair]
    clock: Clock
    metrics: Metrics
    _pair: Pair | None = field(init=False, default=None)
    _current: ssl.SSLContext = field(init=False)
    context: ssl.SSLContext = field(init=False)

    def __attrs_post_init__(self) -> None:
        try:
            self._take()
        except OSError as error:
            raise CertificateError(f"{error.filename}: {error.strerror}") from error
        # The one that the socket has; each handshake is moved to the current one, also without a server name.
        self.context = self._current
        self.context.sni_callback = self._choose

    async def run(self) -> None:
        """Look for a new pair until cancelled."""
        while True:
            await self.clock.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Take the pair that is there now, if it is another one and a good one."""
        try:
            if self._take():
                log.info("certificate is renewed")
        except (CertificateError, OSError) as error:
            log.error("certificate not renewed; the old one stays", error=str(error))  # noqa: TRY400 - says it all

    def _take(self) -> bool:
        self.metrics.certificate_reads.inc()
        try:
            pair = self.source()
            if pair == self._pair:
                return False
            self._current = pair.context()
        except (CertificateError, OSError):
            self.metrics.certificate_read_errors.inc()
            raise
        self._pair = pair
        return True

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._current


def files(certificate: Path, key: Path) -> Callable[[], Pair]:
    """A source that reads a pair from files."""

    def read() -> Pair:
        return Pair(certificate=certificate.read_bytes(), key=key.read_bytes())

    return read


@define
class SelfSigned:
    """A source that makes its own pair, and a new one when half of its time has passed.

    Its clients cannot check it, as those of controller-runtime's default certificate cannot: what is served is
    encrypted, and its readers are known by their tokens, but not the server.
    """

    clock: Clock
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1")
    validity: timedelta = timedelta(days=365)
    _pair: Pair | None = field(init=False, default=None)
    _made_at: float = field(init=False, default=0.0)

    def __call__(self) -> Pair:
        """Return the pair that is to be used now. Raises `CertificateError` where none can be made."""
        now = self.clock.monotonic()
        if self._pair is None or now - self._made_at > self.validity.total_seconds() / 2:
            try:
                from kaito_controller.machinery.server import self_signed
            except ImportError:
                raise CertificateError(
                    "a certificate of its own needs the package cryptography; install kaito-controller[metrics], or "
                    "name a certificate with --metrics-cert-path"
                ) from None
            self._pair = self_signed.pair(self.hosts, self.clock.now(), self.validity)
            self._made_at = now
        return self._pair


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A path under which the content can be read, and which is on no disk."""
    with closing(os.fdopen(os.memfd_create("certificate"), "wb", buffering=0)) as file:
        file.write(content)
        yield f"/proc/self/fd/{file.fileno()}"


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one without a password")
