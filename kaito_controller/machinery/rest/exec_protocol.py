"""What an exec plugin is asked and what it answers (client.authentication.k8s.io)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from attrs import field, frozen

from kaito_controller.kube.timestamps import parse_timestamp
from kaito_controller.machinery import codec
from kaito_controller.machinery.errors import ApiConnectionError, ConfigurationError
from kaito_controller.machinery.rest.token_file import usable_token

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


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
    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(factory=dict, repr=False)
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


def parse_credentials(settings: PluginSettings, output: bytes) -> PluginCredentials:
    """The credentials in what the program printed.

    Raises:
        CredentialsError: it is no ExecCredential of the version that was asked for, or an incomplete one.
    """
    what = f"exec plugin {settings.command}"
    # No error repeats what was printed: whoever prints a bare token would find it in the log.
    try:
        answer = codec.loads(output)
    except ValueError:
        raise CredentialsError(f"{what}: must print JSON; found {len(output)} bytes of something else") from None
    if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
        kind = f"kind {str(answer.get('kind'))[:80]!r}" if isinstance(answer, dict) else f"a {type(answer).__name__}"
        raise CredentialsError(f"{what}: must print an ExecCredential; found {kind}")
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
