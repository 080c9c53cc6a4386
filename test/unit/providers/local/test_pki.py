"""Certificates of a local cluster hold against OpenSSL, which did not write them."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from pathlib import Path

import pytest

from kaito_controller.providers.local import pki


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def ca(tmp_path: Path) -> pki.KeyPair:
    return pki.make_ca(tmp_path, "authority of a test")


@pytest.mark.parametrize(("purpose", "usage"), [("sslclient", "client"), ("sslserver", "server")])
def test_issued_certificates_pass_strict_verification(ca: pki.KeyPair, tmp_path: Path, purpose: str, usage: str):
    """OpenSSL, in its strict mode and for the purpose asked, follows the chain from a certificate to its authority."""
    if usage == "client":
        pair = pki.issue_client(ca, tmp_path, "leaf", common_name="system:admin", organizations=["system:masters"])
    else:
        pair = pki.issue_server(ca, tmp_path, "leaf", common_name="node", names=["node", "10.0.0.1"])
    verdict = openssl(
        "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(ca.certificate), str(pair.certificate)
    )
    assert f"{pair.certificate}: OK\n" == verdict


def test_a_client_certificate_does_not_serve(ca: pki.KeyPair, tmp_path: Path):
    """A stolen client key cannot impersonate a server: the purposes are kept apart."""
    pair = pki.issue_client(ca, tmp_path, "leaf", common_name="someone")
    command = ["openssl", "verify", "-purpose", "sslserver", "-CAfile", str(ca.certificate), str(pair.certificate)]
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_the_subject_carries_user_and_groups(ca: pki.KeyPair, tmp_path: Path):
    """Kubernetes reads groups from O and the user from CN."""
    pair = pki.issue_client(ca, tmp_path, "n", common_name="system:node:n", organizations=["system:nodes", "other"])
    subject = openssl("x509", "-in", str(pair.certificate), "-noout", "-subject", "-nameopt", "RFC2253")
    assert "subject=CN=system:node:n,O=other,O=system:nodes\n" == subject


def test_names_become_dns_names_and_addresses(ca: pki.KeyPair, tmp_path: Path):
    """Each name lands in the kind of alternative name that its form says."""
    names = ["kubernetes.default.svc", "127.0.0.1", "::1"]
    pair = pki.issue_server(ca, tmp_path, "apiserver", common_name="kube-apiserver", names=names)
    text = openssl("x509", "-in", str(pair.certificate), "-noout", "-ext", "subjectAltName")
    assert "DNS:kubernetes.default.svc, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in text


def test_a_server_without_names_is_refused(ca: pki.KeyPair, tmp_path: Path):
    """A certificate that no client would accept is not written."""
    with pytest.raises(ValueError, match="names is empty"):
        pki.issue_server(ca, tmp_path, "x", common_name="x", names=[])
    assert not (tmp_path / "x.crt").exists()


def test_an_authority_is_made_once(ca: pki.KeyPair):
    """A second call keeps the authority, so that what it signed stays valid."""
    before = ca.certificate.read_bytes()
    assert ca == pki.make_ca(ca.certificate.parent, "another name")
    assert before == ca.certificate.read_bytes()


def test_every_file_is_private(ca: pki.KeyPair, tmp_path: Path):
    """Nobody but the owner reads keys, certificates and kubeconfigs."""
    client = pki.issue_client(ca, tmp_path, "c", common_name="c")
    signing = pki.make_signing_key(tmp_path)
    config = pki.write_kubeconfig(
        tmp_path / "kubeconfig", server="https://127.0.0.1:1", ca_certificate=ca.certificate, client=client,
        cluster="t", user="c",
    )  # fmt: skip
    paths = [ca.certificate, ca.key, client.certificate, client.key, signing.certificate, signing.key, config]
    assert [0o600] * len(paths) == [stat.S_IMODE(path.stat().st_mode) for path in paths]


def test_the_signing_key_and_its_public_half_belong_together(tmp_path: Path):
    """What verifies tokens is the public half of what signs them."""
    pair = pki.make_signing_key(tmp_path)
    assert pair.certificate.read_text() == openssl("pkey", "-in", str(pair.key), "-pubout")


def test_a_kubeconfig_is_complete_in_itself(ca: pki.KeyPair, tmp_path: Path):
    """The file can be copied anywhere: certificates are inside, and the context in use names cluster and user."""
    client = pki.issue_client(ca, tmp_path, "c", common_name="c")
    path = pki.write_kubeconfig(
        tmp_path / "kubeconfig", server="https://127.0.0.1:6443", ca_certificate=ca.certificate, client=client,
        cluster="kaito", user="admin",
    )  # fmt: skip
    document = json.loads(path.read_text())
    assert "kaito" == document["current-context"]
    assert {"cluster": "kaito", "user": "admin"} == document["contexts"][0]["context"]
    embedded = document["clusters"][0]["cluster"]["certificate-authority-data"]
    assert ca.certificate.read_bytes() == base64.b64decode(embedded)
