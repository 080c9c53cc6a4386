"""Credentials from a program that the kubeconfig names, such as a cloud's login tool (client.authentication.k8s.io).

The library's own runs it in every loading, without a limit of time, and forgets certificates; so it is run here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from signal import SIGKILL
from typing import Any, Self

from attrs import define, field, frozen

from kaito_controller.kube.timestamps import parse_timestamp
from kaito_controller.machinery import codec
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ConfigurationError
from kaito_controller.machinery.rest.token_file import usable_token

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
RUN_S = 30.0
"""Seconds that a run may take. client-go sets no limit; here a hung program would silence a reflector for good."""
OUTPUT_BYTES = 1 << 20
PIPES_S = 1.0
COMPLAINT_CHARACTERS = 300
"""How much of the program's last words an error repeats."""


class CredentialsError(ApiConnectionError):
    """There are no credentials now, so nothing was sent: like a server out of reach, to be tried again later."""


@frozen(kw_only=True)
class PluginSettings:
    """The `exec` section of a kubeconfig's user, checked.

    Attributes:
        cluster: what the program is told of the cluster; None unless the section has `provideClusterInfo`.
    """

    api_version: str
    command: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    install_hint: str = ""
    cluster: Mapping[str, Any] | None = None

    @classmethod
    def parse(cls, section: Mapping[str, Any], folder: Path, cluster: Mapping[str, Any]) -> Self:
        """Read a section of a kubeconfig in `folder`; a command with a slash is relative to that.

        Raises:
            ConfigurationError: the section cannot work; the message names the field.
        """
        version, command = str(section.get("apiVersion") or ""), str(section.get("command") or "")
        if version not in VERSIONS:
            raise ConfigurationError(f"exec.apiVersion: must be {' or '.join(VERSIONS)}; found {version!r}")
        if not command:
            raise ConfigurationError("exec.command: must name the program to run; found none")
        if section.get("interactiveMode") == "Always":
            raise ConfigurationError(
                f"exec.interactiveMode of {command}: must be IfAvailable or Never; found 'Always', without a terminal"
            )
        if os.sep in command:
            command = os.path.normpath(folder / command)
        try:
            environment = {str(each["name"]): str(each.get("value") or "") for each in section.get("env") or ()}
            arguments = tuple(str(each) for each in section.get("args") or ())
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"exec.args and exec.env of {command}: must be a list of strings and one of name and value ({error!r})"
            ) from error
        return cls(
            api_version=version,
            command=command,
            arguments=arguments,
            environment=environment,
            install_hint=str(section.get("installHint") or ""),
            cluster=dict(cluster) if section.get("provideClusterInfo") else None,
        )

    @property
    def exec_info(self) -> str:
        """The value of `KUBERNETES_EXEC_INFO`: what the program is asked."""
        spec: dict[str, Any] = {"interactive": False}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        return codec.dumps({"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec}).decode()


@frozen(kw_only=True)
class PluginCredentials:
    """What a run of the program came to: a token, a client certificate with its key (PEM), or both."""

    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    expires: datetime | None = None


@define(kw_only=True)
class ExecPlugin:
    """Runs the program when its last credentials are used up: expired, or refused when they name no expiry (RC4).

    One run at a time; who asks meanwhile gets the outcome of that run, also when it failed.
    """

    settings: PluginSettings
    clock: Clock
    run_s: float = RUN_S
    _lock: asyncio.Lock = field(init=False, factory=asyncio.Lock)
    _current: PluginCredentials | None = field(init=False, default=None)
    _refused: bool = field(init=False, default=False)
    _runs: int = field(init=False, default=0)
    _failure: CredentialsError | None = field(init=False, default=None)

    async def credentials(self) -> PluginCredentials:
        """The credentials to use now.

        Raises:
            CredentialsError: the program failed, hung or printed something else.
        """
        runs = self._runs
        if (usable := self._usable()) is not None:
            return usable
        async with self._lock:
            if (usable := self._usable()) is not None:
                return usable
            if self._runs != runs and self._failure is not None:
                raise CredentialsError(str(self._failure)) from self._failure
            return await self._run()

    def refuse(self, refused: PluginCredentials) -> None:
        """The server answered 401 to these: run again before the next use, unless that was done meanwhile."""
        if self._current is refused:
            self._refused = True

    def _usable(self) -> PluginCredentials | None:
        current = self._current
        if current is None or self._refused:
            return None
        return current if current.expires is None or self.clock.now() <= current.expires else None

    async def _run(self) -> PluginCredentials:
        try:
            output = await _output(self.settings, self.run_s)
            self._current = parse_credentials(self.settings, output)
        except CredentialsError as error:
            self._failure = error
            raise
        else:
            self._failure, self._refused = None, False
            return self._current
        finally:
            self._runs += 1


async def _output(settings: PluginSettings, limit_s: float) -> bytes:
    """What the program prints; it is killed with all that it started when it takes or prints too much."""
    what = f"exec plugin {settings.command}"
    environment = os.environ | settings.environment | {"KUBERNETES_EXEC_INFO": settings.exec_info}
    try:
        process = await asyncio.create_subprocess_exec(
            settings.command,
            *settings.arguments,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        hint = (
            f"; {settings.install_hint.strip()}" if settings.install_hint else "; install it, or correct the kubeconfig"
        )
        raise CredentialsError(f"{what}: cannot be run ({error}){hint}") from error
    try:
        async with asyncio.timeout(limit_s):
            output, complaint = await asyncio.gather(_read(process, process.stdout), _read(process, process.stderr))
            code = await process.wait()
    except TimeoutError as error:
        raise CredentialsError(f"{what}: must answer within {limit_s:g} s; it was killed") from error
    finally:
        await _end(process)
    if len(output) > OUTPUT_BYTES:
        raise CredentialsError(f"{what}: must print one ExecCredential; it printed over {OUTPUT_BYTES} bytes")
    if code:
        words = " ".join(complaint.decode(errors="replace").split())[-COMPLAINT_CHARACTERS:]
        raise CredentialsError(f"{what}: ended with code {code} ({words or 'it said nothing'})")
    return output


async def _read(process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None) -> bytes:
    """Everything, or just over the limit of it; then the program is killed."""
    parts: list[bytes] = []
    size = 0
    while stream is not None and (part := await stream.read(1 << 16)):
        if size > OUTPUT_BYTES:
            continue
        parts.append(part)
        size += len(part)
        if size > OUTPUT_BYTES:
            _kill(process)
    return b"".join(parts)


def _kill(process: asyncio.subprocess.Process) -> None:
    # A login script's children would outlive it, so its whole session goes.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what still runs, and read the pipes to their ends: only then asyncio closes them."""
    _kill(process)
    with suppress(TimeoutError):
        # A child that left the session may hold a pipe open for as long as it lives.
        async with asyncio.timeout(PIPES_S):
            await asyncio.gather(_read(process, process.stdout), _read(process, process.stderr))
    await process.wait()


def parse_credentials(settings: PluginSettings, output: bytes) -> PluginCredentials:
    """The credentials in what the program printed.

    Raises:
        CredentialsError: it is no ExecCredential of the version that was asked for, or an incomplete one.
    """
    what = f"exec plugin {settings.command}"
    try:
        answer = codec.loads(output)
    except (ValueError, RecursionError) as error:
        raise CredentialsError(f"{what}: must print JSON; found {output[:80]!r}") from error
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        raise CredentialsError(f"{what}: must print an ExecCredential; found {output[:80]!r}")
    if answer.get("apiVersion") != settings.api_version:
        found = answer.get("apiVersion")
        raise CredentialsError(
            f"{what}: apiVersion must be {settings.api_version}, as in the kubeconfig; found {found!r}"
        )
    status = answer.get("status")
    if not isinstance(status, dict):
        raise CredentialsError(f"{what}: status must hold the credentials; found none")
    token, certificate, key = (
        str(status.get(name) or "") for name in ("token", "clientCertificateData", "clientKeyData")
    )
    if bool(certificate) != bool(key):
        raise CredentialsError(f"{what}: clientCertificateData and clientKeyData belong together; found one of them")
    if not token and not certificate:
        raise CredentialsError(f"{what}: status must hold a token, or a certificate and its key; found neither")
    expires = status.get("expirationTimestamp")
    try:
        return PluginCredentials(
            token=usable_token(token, "status.token") if token else "",
            certificate=certificate,
            key=key,
            expires=parse_timestamp(str(expires)) if expires else None,
        )
    except ValueError as error:
        raise CredentialsError(f"{what}: {error}") from error
