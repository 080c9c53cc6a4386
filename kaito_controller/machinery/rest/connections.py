"""Which connections a request goes over: the present ones, made anew when a certificate was replaced (RC4, RC5)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from attrs import define, field

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ConfigurationError
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.rest.credentials import Credentials, Identity
from kaito_controller.machinery.rest.exec_protocol import CredentialsError
from kaito_controller.machinery.rest.sessions import Sessions
from kaito_controller.machinery.rest.tls import TLS_CHECK_S, TlsState, as_files

log = logger(__name__)


@define(kw_only=True)
class Connections:
    """Holds the sessions in use and those that end their last requests.

    Args:
        factory: makes a REST client from the library's configuration and a number of connections, 0 for no limit.
    """

    credentials: Credentials
    clock: Clock
    factory: Callable[[Any, int], Any]
    _sessions: Sessions | None = field(init=False, default=None)
    _retired: list[Sessions] = field(init=False, factory=list)
    _state: TlsState | None = field(init=False, default=None)
    _certificate: str = field(init=False, default="")
    _checked_at: float | None = field(init=False, default=None)
    _complained: bool = field(init=False, default=False)
    _closed: bool = field(init=False, default=False)

    def open(self) -> None:
        """Make the first sessions; nothing is sent yet.

        Raises:
            ConfigurationError: the certificates cannot be used.
        """
        try:
            self._state = self.credentials.tls()
            self._sessions = self._make("", "")
        except (OSError, ValueError) as error:
            source = self.credentials.source
            raise ConfigurationError(f"{source}: the certificates cannot be used ({error})") from error
        self._checked_at = self.clock.monotonic()

    def look_again(self) -> None:
        """Look at the certificates before the next request: the last one was refused, here or there."""
        self._checked_at = None

    async def current(self, identity: Identity) -> Sessions:
        """The sessions for a request of this identity.

        Raises:
            ApiConnectionError: they are closed.
            CredentialsError: the exec plugin's certificate cannot be used.
        """
        sessions = self._sessions
        if sessions is None or self._closed:
            raise ApiConnectionError("the transport is closed")
        certificate = identity.plugin.certificate if identity.plugin else ""
        now = self.clock.monotonic()
        due = self._checked_at is None or now - self._checked_at >= TLS_CHECK_S
        if not due and certificate == self._certificate:
            return sessions
        self._checked_at = now
        return await self._renew(sessions, identity, certificate)

    async def close(self) -> None:
        """Close all of them."""
        self._closed = True
        for sessions in (self._sessions, *self._retired):
            if sessions is not None:
                await sessions.close()

    async def _renew(self, old: Sessions, identity: Identity, certificate: str) -> Sessions:
        try:
            state = self.credentials.tls()
        except OSError as error:
            self._complain("a certificate file cannot be read; the connections stay as they are", error)
            return old
        if (state, certificate) == (self._state, self._certificate):
            self._complained = False
            return old
        try:
            fresh = self._make(certificate, identity.plugin.key if identity.plugin else "")
        except (OSError, ValueError) as error:
            if certificate != self._certificate:
                await self.credentials.refused(identity)
                raise CredentialsError(f"exec plugin: its certificate and key cannot be used ({error})") from error
            # Certificate and key are two files: somebody may have written only one of them yet.
            self._complain("the new certificates cannot be used; the connections stay as they are", error)
            return old
        self._complained = False
        was = self._state
        another = certificate != self._certificate or was is None or was.identity != state.identity
        self._sessions, self._state, self._certificate = fresh, state, certificate
        log.info("certificates were replaced; new connections use them", client_certificate=another)
        self._retired = [each for each in self._retired if each.in_use] + [old]
        await old.retire(cut_watches=another)
        return fresh

    def _complain(self, event: str, error: Exception) -> None:
        # They are looked at every minute, and one line per outage is enough.
        if not self._complained:
            log.warning(event, error=str(error))
        self._complained = True

    def _make(self, certificate: str, key: str) -> Sessions:
        configuration = copy.copy(self.credentials.configuration)
        with as_files(certificate, key) if certificate else nullcontext() as files:
            if files is not None:
                configuration.cert_file, configuration.key_file = files
            return Sessions.make(lambda size: self.factory(configuration, size))
