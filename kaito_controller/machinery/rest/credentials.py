"""Where the server's address and our credentials come from, and what a request is sent with as they rotate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ConfigurationError
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.rest.exec_plugin import ExecPlugin
from kaito_controller.machinery.rest.exec_protocol import CredentialsError, PluginCredentials, PluginSettings
from kaito_controller.machinery.rest.tls import TlsState
from kaito_controller.machinery.rest.token_file import TokenFile

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a Pod's token and the certificate authority."""
RELOAD_PAUSE_S = 10.0
"""How soon after the last reading a refused kubeconfig is worth another one."""

log = logger(__name__)


@frozen(kw_only=True)
class Loaded:
    """What a loader made of its source.

    Attributes:
        configuration: the library's, with host and certificate files.
        token_file: where the token is, when it is in a file.
        plugin: the kubeconfig's `exec` section, its folder and the cluster as the program may be told of it.
    """

    configuration: Any = field(repr=False)
    token_file: Path | None = None
    plugin: tuple[Mapping[str, Any], Path, Mapping[str, Any]] | None = field(default=None, repr=False)


class Loaders(Protocol):
    """The loaders of kubernetes_asyncio, as the transport hands them in. They raise whatever they stumble on."""

    def in_cluster(self, folder: Path) -> Loaded:
        """Load a Pod's service account from its folder."""
        ...

    async def kubeconfig(self, paths: str, context: str | None) -> Loaded:
        """Load a context of a kubeconfig, or of several that `os.pathsep` separates."""
        ...


@frozen(kw_only=True)
class Identity:
    """What one request is sent with.

    Attributes:
        authorization: the Authorization header; empty when a client certificate is all.
        plugin: the credentials of the exec plugin among it.
        taken_at: when it was asked for, on the monotonic clock.
    """

    authorization: str = field(repr=False)
    plugin: PluginCredentials | None = None
    taken_at: float = 0.0


class Credentials:
    """The configuration of a connection, from a kubeconfig or from the Pod's service account."""

    def __init__(
        self,
        loaders: Loaders,
        clock: Clock,
        kubeconfig: str | None,
        context: str | None,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> None:
        self._loaders = loaders
        self._clock = clock
        self._kubeconfig = kubeconfig
        self._context = context
        self._service_account = service_account
        self._read_at = 0.0
        self._token_file: TokenFile | None = None
        self._plugin: ExecPlugin | None = None
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

    async def load(self) -> None:
        """Read everything for the first time; an exec plugin does not run yet.

        Raises:
            ConfigurationError: it cannot be used; the message names the source.
        """
        loaded = await self._read()
        self.configuration = loaded.configuration
        if loaded.token_file is not None:
            self._token_file = TokenFile(path=loaded.token_file, clock=self._clock)
        if loaded.plugin is not None:
            try:
                self._plugin = ExecPlugin(settings=PluginSettings.parse(*loaded.plugin), clock=self._clock)
            except ConfigurationError as error:
                raise ConfigurationError(f"{self.source}: {error}") from error

    async def identity(self) -> Identity:
        """What to send a request with now.

        Raises:
            CredentialsError: there is nothing to send it with: a plugin failed, a token was never readable.
        """
        taken_at = self._clock.monotonic()
        if self._plugin is not None:
            got = await self._plugin.credentials()
            return Identity(authorization=_bearer(got.token), plugin=got, taken_at=taken_at)
        if self._token_file is not None:
            return Identity(authorization=self._token_from_file(self._token_file), taken_at=taken_at)
        return Identity(authorization=self._static, taken_at=taken_at)

    async def refused(self, identity: Identity) -> None:
        """A request with this identity was answered 401: fetch a newer one before the next request, if there is one."""
        if self._plugin is not None and identity.plugin is not None:
            self._plugin.refuse(identity.plugin)
        elif self._token_file is not None:
            self._token_file.drop_older_than(identity.taken_at)
        elif not self.in_cluster and self._clock.monotonic() - self._read_at > RELOAD_PAUSE_S:
            await self._reload()

    def tls(self) -> TlsState:
        """The state of the certificate files in use.

        Raises:
            OSError: one of them cannot be read now.
        """
        used = self.configuration
        return TlsState.read(used.ssl_ca_cert, used.cert_file, used.key_file)

    @property
    def _path(self) -> str:
        return self._kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())

    @property
    def _static(self) -> str:
        return str(self.configuration.api_key.get("BearerToken") or "").strip()

    def _token_from_file(self, file: TokenFile) -> str:
        try:
            return _bearer(file.token())
        except (OSError, ValueError) as error:
            if self._static:
                return self._static
            raise CredentialsError(f"{self.source}: the token cannot be read ({error})") from error

    async def _reload(self) -> None:
        """Read a kubeconfig again whose token or certificate was refused: a login tool may have renewed it."""
        try:
            fresh = (await self._read()).configuration
        except ConfigurationError as error:
            log.warning("credentials cannot be read again; the old ones stay in use", error=str(error))
            return
        if str(fresh.host) != self.host:
            # Copies of one cluster's objects must never be acted on in another.
            log.warning("the kubeconfig names another server now; start again to use it", server=str(fresh.host))
            return
        self.configuration = fresh

    async def _read(self) -> Loaded:
        """What the library's loaders make of the source."""
        self._read_at = self._clock.monotonic()
        if not self.in_cluster:
            _require_file(self.source, self._path)
        try:
            if self.in_cluster:
                return self._loaders.in_cluster(self._service_account)
            return await self._loaders.kubeconfig(self._path, self._context)
        except Exception as error:
            # The loader raises whatever it stumbles on: KeyError, TypeError, YAML and base64 errors among others.
            text = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, (TypeError, AttributeError, KeyError)):
                text = "it does not have the form of one"
            remedy = "" if self.in_cluster else "; correct it, or name another with --kubeconfig"
            raise ConfigurationError(f"{self.source}: cannot be used ({text}){remedy}") from error


def _bearer(token: str) -> str:
    return f"Bearer {token}" if token else ""


def _require_file(source: str, paths: str) -> None:
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        raise ConfigurationError(f"{source}: no such file; name one with --kubeconfig or $KUBECONFIG")
