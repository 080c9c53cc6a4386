"""Where the server's address and our credentials come from, and reading them again when they rotate."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ConfigurationError
from kaito_controller.machinery.log import logger

TOKEN_AGE_S = 50.0
"""A service account's token is read again after a minute less ten seconds (RC3)."""
RELOAD_PAUSE_S = 10.0
"""How soon after the last reading a refused token is worth another one."""

log = logger(__name__)


class Loaders(Protocol):
    """The configuration and the loaders of kubernetes_asyncio."""

    configuration: Callable[[], Any]
    in_cluster: Callable[..., None]
    kubeconfig: Callable[..., Awaitable[Any]]


class Credentials:
    """The configuration of a connection, from a kubeconfig or from the Pod's service account."""

    def __init__(self, loaders: Loaders, clock: Clock, kubeconfig: str | None, context: str | None) -> None:
        self._loaders = loaders
        self._clock = clock
        self._kubeconfig = kubeconfig
        self._context = context
        self._read_at = 0.0
        self.configuration: Any = None

    @property
    def in_cluster(self) -> bool:
        """Whether they are those of the Pod's service account."""
        chosen = self._kubeconfig or os.environ.get("KUBECONFIG")
        return not chosen and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))

    @property
    def source(self) -> str:
        """Where they come from, in words."""
        return "in-cluster configuration" if self.in_cluster else f"kubeconfig {self._path}"

    @property
    def host(self) -> str:
        """The URL of the API server; empty before `load`."""
        return str(self.configuration.host) if self.configuration is not None else ""

    @property
    def authorization(self) -> str:
        """The value of the Authorization header; empty when a client certificate is all."""
        return str(self.configuration.api_key.get("BearerToken") or "").strip()

    async def load(self) -> None:
        """Read everything for the first time.

        Raises:
            ConfigurationError: it cannot be used; the message names the source.
        """
        self.configuration = await self._read()

    async def renew(self) -> None:
        """Read the service account's token again before it can have expired; a failure keeps the old one."""
        if self.in_cluster and self._clock.monotonic() - self._read_at > TOKEN_AGE_S:
            await self._reread()

    async def replace(self, refused: str) -> bool:
        """After a 401: whether there is another token than the refused one, reading again if need be."""
        if self.authorization == refused and self._clock.monotonic() - self._read_at > RELOAD_PAUSE_S:
            await self._reread()
        return self.authorization != refused

    @property
    def _path(self) -> str:
        return self._kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())

    async def _reread(self) -> None:
        try:
            fresh = await self._read()
        except ConfigurationError as error:
            log.warning("credentials cannot be read again; the old ones stay in use", error=str(error))
        else:
            self.configuration.api_key = fresh.api_key

    async def _read(self) -> Any:
        """A configuration as kubernetes_asyncio's loaders fill it in."""
        self._read_at = self._clock.monotonic()
        if not self.in_cluster:
            _require_file(self.source, self._path)
        configuration = self._loaders.configuration()
        try:
            await self._fill(configuration)
        except Exception as error:
            # The loader raises whatever it stumbles on: KeyError, TypeError, YAML and base64 errors among others.
            text = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, (TypeError, AttributeError, KeyError)):
                text = "it does not have the form of one"
            remedy = "" if self.in_cluster else "; correct it, or name another with --kubeconfig"
            raise ConfigurationError(f"{self.source}: cannot be used ({text}){remedy}") from error
        return configuration

    async def _fill(self, configuration: Any) -> None:
        if self.in_cluster:
            self._loaders.in_cluster(client_configuration=configuration, try_refresh_token=False)
            return
        await self._loaders.kubeconfig(
            config_file=self._path,
            context=self._context,
            client_configuration=configuration,
            persist_config=False,
        )


def _require_file(source: str, paths: str) -> None:
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        raise ConfigurationError(f"{source}: no such file; name one with --kubeconfig or $KUBECONFIG")
