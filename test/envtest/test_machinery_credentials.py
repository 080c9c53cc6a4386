"""Credentials that rotate, shown to a real API server: its 401s, its certificates, its service accounts."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, NAMESPACES
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError, is_forbidden
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.loopback import ImpatientClock, write_kubeconfig


def section(apiserver: APIServer, name: str) -> dict[str, Any]:
    """The cluster or the user of the administrator's kubeconfig, with all data in it."""
    config = json.loads(apiserver.kubectl("config", "view", "--raw", "--flatten", "--output=json"))
    found: dict[str, Any] = config[f"{name}s"][0][name]
    return found


def authority(apiserver: APIServer) -> str:
    return base64.b64decode(section(apiserver, "cluster")["certificate-authority-data"]).decode()


async def written_once_permitted(client: Client, config_map: Object) -> None:
    """Create it: the server's authorizer hears of a new role a moment after it was written."""
    async with asyncio.timeout(30):
        while True:
            try:
                await client.create(CONFIG_MAPS, config_map)
            except ApiError as error:
                if not is_forbidden(error):
                    raise
            else:
                return


@pytest.mark.scenario("RC3")
async def test_a_service_account_whose_token_rotates(
    apiserver: APIServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a Pod: a token that the server refuses is read again, and it is the service account that writes."""
    (tmp_path / "ca.crt").write_text(authority(apiserver))
    (tmp_path / "token").write_text("outdated")
    where = f"--namespace={namespace}"
    apiserver.kubectl("create", "role", "writer", "--verb=create,list", "--resource=configmaps", where)
    apiserver.kubectl(
        "create", "rolebinding", "writer", "--role=writer", f"--serviceaccount={namespace}:default", where
    )
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(urlsplit(apiserver.url).hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(urlsplit(apiserver.url).port))
    async with AioTransport(service_account=tmp_path, clock=ImpatientClock()) as transport:
        client = Client(transport)
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await client.list(CONFIG_MAPS, namespace)
        (tmp_path / "token").write_text(apiserver.kubectl("create", "token", "default", f"--namespace={namespace}"))
        await written_once_permitted(client, {"metadata": {"name": "a", "namespace": namespace}})
        with pytest.raises(ApiError) as refused:
            await client.list(NAMESPACES)
    assert is_forbidden(refused.value)
    assert f"system:serviceaccount:{namespace}:default" in str(refused.value)


@pytest.mark.scenario("RC4")
async def test_an_exec_plugin_hands_out_certificates_and_tokens(
    apiserver: APIServer, namespace: str, tmp_path: Path
) -> None:
    """The administrator's certificate from a program; once it prints a service account's token, that is who asks."""
    admin = section(apiserver, "user")
    pair = {
        "clientCertificateData": base64.b64decode(admin["client-certificate-data"]).decode(),
        "clientKeyData": base64.b64decode(admin["client-key-data"]).decode(),
        "expirationTimestamp": "2020-01-01T00:00:00Z",
    }
    version = "client.authentication.k8s.io/v1"

    def answer(**status: str) -> None:
        text = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})
        (tmp_path / "answer").write_text(text)

    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\ncat {shlex.quote(str(tmp_path / 'answer'))}\n")
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": version, "command": "./plugin", "interactiveMode": "Never"}}
    (tmp_path / "ca.crt").write_text(authority(apiserver))
    path = write_kubeconfig(tmp_path / "kubeconfig", apiserver.url, user, {"certificate-authority": "ca.crt"})
    answer(**pair)
    async with AioTransport(kubeconfig=path) as transport:
        client = Client(transport)
        assert namespace in [each["metadata"]["name"] for each in await client.list(NAMESPACES)]
        async with client.watch(CONFIG_MAPS, namespace) as chunks:
            answer(token=apiserver.kubectl("create", "token", "default", f"--namespace={namespace}").strip())
            with pytest.raises(ApiError) as refused:
                await client.list(NAMESPACES)
            with pytest.raises(ConnectionError):
                async for _ in chunks:
                    pass
    assert is_forbidden(refused.value)
    assert f"system:serviceaccount:{namespace}:default" in str(refused.value)
