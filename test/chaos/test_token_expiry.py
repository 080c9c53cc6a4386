"""A token expires under an operator that runs, and its successor appears in the file."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.recorder import config_map, converged, recording

NAMESPACE = "chaos"
ACCOUNT = "reader"
LEEWAY_S = 60
"""The API server takes a token for another minute after its expiry, for the sake of clocks that differ."""
LIFE_S = 4
POINTS = 32
"""Bytes of each half of a signature on the curve P-256."""


def sign(server: APIServer, life_s: float) -> str:
    """A token of the service account that the API server accepts for so many seconds from now.

    It makes none that lives shorter than ten minutes, so it is signed here, with the cluster's own key.
    """
    account = server.get("serviceaccount", ACCOUNT, f"--namespace={NAMESPACE}")
    issuer = f"https://kubernetes.default.svc.{server.control_plane.network.domain}"
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": [issuer],
        "sub": f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}",
        "iat": now - 600,
        "nbf": now - 600,
        "exp": int(now + life_s - LEEWAY_S),
        "kubernetes.io": {
            "namespace": NAMESPACE,
            "serviceaccount": {"name": ACCOUNT, "uid": account["metadata"]["uid"]},
        },
    }
    signed = f"{_part({'alg': 'ES256', 'typ': 'JWT'})}.{_part(claims)}"
    pem = (server.control_plane.certificates / "service-account.key").read_bytes()
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    halves = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_text(b''.join(half.to_bytes(POINTS, 'big') for half in halves))}"


def _part(value: dict[str, Any]) -> str:
    return _text(json.dumps(value).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def kubeconfig_with(server: APIServer, token_file: Path, folder: Path) -> Path:
    """The administrator's view of the cluster, with the token of a file in the place of the client certificate."""
    view = json.loads(server.kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=json"))
    view["users"] = [{"name": ACCOUNT, "user": {"tokenFile": str(token_file)}}]
    view["contexts"] = [{"name": ACCOUNT, "context": {"cluster": view["clusters"][0]["name"], "user": ACCOUNT}}]
    view["current-context"] = ACCOUNT
    path = folder / "reader.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(view))
    return path


def is_accepted(server: APIServer, token: str) -> bool:
    """Whether the API server still takes the token."""
    context = ssl.create_default_context(cafile=server.control_plane.ca.certificate)
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps?limit=1"
    request = urllib.request.Request(server.url + path, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, context=context, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            return False
        raise


@pytest.mark.slow
@pytest.mark.scenario("RC3")
async def test_an_operator_outlives_its_token(server: APIServer, tmp_path: Path) -> None:
    """A token that is not valid any more.

    Given an operator whose token the API server accepts for seconds only, and which it no longer does
    When every connection breaks, and the kubelet has put the next token into the file
    Then the operator goes on with that one, and misses nothing.
    """
    await asyncio.to_thread(server.kubectl, "create", "serviceaccount", ACCOUNT, f"--namespace={NAMESPACE}")
    verbs = ("--verb=get,list,watch", "--resource=configmaps", f"--namespace={NAMESPACE}")
    who = (f"--role={ACCOUNT}", f"--serviceaccount={NAMESPACE}:{ACCOUNT}", f"--namespace={NAMESPACE}")
    await asyncio.to_thread(server.kubectl, "create", "role", ACCOUNT, *verbs)
    await asyncio.to_thread(server.kubectl, "create", "rolebinding", ACCOUNT, *who)
    first = await asyncio.to_thread(sign, server, LIFE_S)
    token_file = tmp_path / "token"
    token_file.write_text(first)
    await asyncio.to_thread(server.apply, config_map("a", NAMESPACE, "before"))
    async with recording(kubeconfig_with(server, token_file, tmp_path), NAMESPACE) as recorder:
        await converged(server, recorder)
        await asyncio.to_thread(eventually, "the token has expired", lambda: not is_accepted(server, first))
        token_file.write_text(await asyncio.to_thread(sign, server, 3600))
        await asyncio.to_thread(server.restart_apiserver, kill=True)
        await asyncio.to_thread(server.apply, config_map("a", NAMESPACE, "after"), config_map("b", NAMESPACE, "after"))
        await converged(server, recorder)
