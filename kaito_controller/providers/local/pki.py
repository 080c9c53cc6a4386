"""The keys of a local cluster: its authority, the certificates it signs, and kubeconfigs that carry them.

Keys are EC P-256. Every certificate has the extensions that strict verifiers ask for (RFC 5280: basic constraints, key
usage, subject and authority key identifiers), so that OpenSSL, Go and Python's VERIFY_X509_STRICT agree about them.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaito_controller.providers.local import files

LIFETIME = timedelta(days=365)
"""How long a certificate is valid: a local cluster is thrown away long before."""

SKEW = timedelta(minutes=10)
"""Certificates begin this long before now, for machines whose clocks step back after start."""


@frozen(kw_only=True)
class KeyPair:
    """A certificate and the key that belongs to it, as PEM files."""

    certificate: Path
    key: Path


def make_ca(folder: Path, name: str, *, stem: str = "ca") -> KeyPair:
    """Make an authority `name` in `folder` as `<stem>.crt` and `<stem>.key` (0600), or return the one already there."""
    pair = KeyPair(certificate=folder / f"{stem}.crt", key=folder / f"{stem}.key")
    if pair.certificate.exists() and pair.key.exists():
        return pair
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return _write(pair, key, builder.sign(key, hashes.SHA256()))


def issue_client(
    ca: KeyPair, folder: Path, stem: str, *, common_name: str, organizations: Sequence[str] = ()
) -> KeyPair:
    """Sign a client certificate: Kubernetes reads the user from `common_name`, the groups from `organizations`."""
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return _issue(ca, folder, stem, subject=subject, names=(), usages=[ExtendedKeyUsageOID.CLIENT_AUTH])


def issue_server(
    ca: KeyPair,
    folder: Path,
    stem: str,
    *,
    common_name: str,
    names: Sequence[str],
    organizations: Sequence[str] = (),
    also_client: bool = False,
) -> KeyPair:
    """Sign a serving certificate for `names` (DNS names and IP addresses, told apart by their form).

    `also_client` is for peers that call each other with the same certificate, as etcd members do.
    Raises ValueError when `names` is empty: a server without subject alternative names is refused by every client.
    """
    if not names:
        raise ValueError(f"serving certificate {common_name!r}: names is empty, give at least one DNS name or address")
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if also_client else [])]
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
    return _issue(ca, folder, stem, subject=subject, names=names, usages=usages)


def make_signing_key(folder: Path, stem: str = "service-account") -> KeyPair:
    """Make the key pair that signs service-account tokens: `<stem>.key`, and its public half as `<stem>.pub`."""
    pair = KeyPair(certificate=folder / f"{stem}.pub", key=folder / f"{stem}.key")
    if pair.certificate.exists() and pair.key.exists():
        return pair
    key = ec.generate_private_key(ec.SECP256R1())
    files.write(pair.key, _pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    files.write(pair.certificate, public)
    return pair


def kubeconfig(*, server: str, ca_certificate: Path, client: KeyPair, cluster: str, user: str) -> dict[str, Any]:
    """A kubeconfig document with everything inside it, so that one file is enough to reach the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": _data(ca_certificate)}}
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _data(client.certificate),
                    "client-key-data": _data(client.key),
                },
            }
        ],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }


def write_kubeconfig(
    path: Path, *, server: str, ca_certificate: Path, client: KeyPair, cluster: str, user: str
) -> Path:
    """Write `kubeconfig(...)` to `path` (0600) and return the path."""
    document = kubeconfig(server=server, ca_certificate=ca_certificate, client=client, cluster=cluster, user=user)
    return files.write_json(path, document)


def _issue(
    ca: KeyPair,
    folder: Path,
    stem: str,
    *,
    subject: Sequence[x509.NameAttribute[str]],
    names: Sequence[str],
    usages: Sequence[x509.ObjectIdentifier],
) -> KeyPair:
    authority = x509.load_pem_x509_certificate(ca.certificate.read_bytes())
    authority_key = serialization.load_pem_private_key(ca.key.read_bytes(), password=None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{ca.key}: the authority's key must be an EC key, as make_ca writes it")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(x509.Name(subject), authority.subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    pair = KeyPair(certificate=folder / f"{stem}.crt", key=folder / f"{stem}.key")
    return _write(pair, key, builder.sign(authority_key, hashes.SHA256()))


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(pair: KeyPair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> KeyPair:
    files.write(pair.key, _pem(key))
    files.write(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    return pair


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # PKCS #8 would do as well, but the service-account signer of the API server reads only the SEC 1 form of EC keys.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
