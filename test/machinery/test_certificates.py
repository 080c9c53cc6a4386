"""The certificate of the metrics server: what it is made of, and how it changes while the server runs."""

from __future__ import annotations

import asyncio
import builtins
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.server.access import Refusal
from kaito_controller.machinery.server.certificates import (
    CertificateError,
    Pair,
    ReloadedCertificate,
    SelfSigned,
    files,
)
from kaito_controller.machinery.server.metrics_server import MetricsServer
from kaito_controller.machinery.server.self_signed import pair
from kaito_controller.testing.clock import VirtualClock, cancelled, settle, virtual_time

YEAR = timedelta(days=365)


def made(host: str) -> Pair:
    return pair([host, "127.0.0.1"], datetime.now(UTC), YEAR)


def write(folder: Path, content: Pair) -> None:
    """As kubelet does: a new folder, then a link to it swapped for the old one."""
    versions = sorted(folder.glob("..v*"))
    new = folder / f"..v{int(versions[-1].name[3:]) + 1 if versions else 0}"
    new.mkdir()
    (new / "tls.crt").write_bytes(content.certificate)
    (new / "tls.key").write_bytes(content.key)
    (folder / "..tmp").symlink_to(new.name)
    (folder / "..tmp").rename(folder / "..data")
    for name in ("tls.crt", "tls.key"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for version in versions:
        shutil.rmtree(version)


def from_files(folder: Path, clock: VirtualClock, metrics: Metrics) -> ReloadedCertificate:
    return ReloadedCertificate(files(folder / "tls.crt", folder / "tls.key"), clock, metrics)


def sample(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"certwatcher_read_certificate_{name}")


async def served(port: int, *, server_name: str | None = "localhost") -> str:
    """The common name of the certificate that a new connection sees."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name or "")
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    del reader
    name = x509.load_der_x509_certificate(found).subject.rfc4514_string()
    return name.removeprefix("CN=").partition("@")[0]


@pytest.mark.scenario("MG6", "MX5")
async def test_new_handshakes_use_the_new_certificate_and_open_connections_live_on(tmp_path: Path) -> None:
    """With and without a server name; a bad pair keeps the old one and is counted."""
    clock, metrics = VirtualClock(), Metrics()
    write(tmp_path, made("first"))
    certificate = from_files(tmp_path, clock, metrics)
    server = MetricsServer(host="127.0.0.1", port=0, metrics=metrics, certificate=certificate)
    port = await server.start()
    url, opened = f"https://127.0.0.1:{port}/metrics", aiohttp.ClientSession()
    try:
        async with opened.get(url, ssl=False) as response:
            assert response.status == 200
        assert await served(port) == "first"
        write(tmp_path, made("second"))
        certificate.look()
        assert [await served(port), await served(port, server_name=None)] == ["second", "second"]
        write(tmp_path, Pair(certificate=made("third").certificate, key=made("fourth").key))
        certificate.look()
        (tmp_path / "tls.key").unlink()
        certificate.look()
        assert await served(port) == "second"
        async with opened.get(url, ssl=False) as response:
            text = await response.text()
        assert "certwatcher_read_certificate_total 4.0" in text
        assert "certwatcher_read_certificate_errors_total 2.0" in text
    finally:
        await opened.close()
        await server.stop()


@pytest.mark.scenario("MX5")
@virtual_time
async def test_files_are_read_every_ten_seconds(clock: VirtualClock, tmp_path: Path) -> None:
    """Written in place, renamed over or swapped as a link: what counts is what is in them."""
    metrics = Metrics()
    write(tmp_path, made("first"))
    certificate = from_files(tmp_path, clock, metrics)
    running = asyncio.create_task(certificate.run())
    first = certificate._current
    await clock.sleep(25)
    assert (sample(metrics, "total"), sample(metrics, "errors_total")) == (3, 0)
    assert certificate._current is first
    new = made("second")
    (tmp_path / "tls.crt").resolve().write_bytes(new.certificate)
    await clock.sleep(10)
    assert (certificate._current is first, sample(metrics, "errors_total")) == (True, 1)
    (tmp_path / "new").write_bytes(new.key)
    (tmp_path / "new").rename(tmp_path / "tls.key")
    await clock.sleep(10)
    assert (certificate._current is first, sample(metrics, "errors_total")) == (False, 1)
    await cancelled(running)


@pytest.mark.scenario("MG6")
@pytest.mark.parametrize("flaw", ["missing", "mismatch", "garbage", "encrypted"])
def test_the_first_pair_must_be_good(tmp_path: Path, flaw: str) -> None:
    """The operator says at its start what is wrong; an encrypted key never asks a terminal."""
    content = made("a")
    if flaw == "mismatch":
        content = Pair(certificate=content.certificate, key=made("b").key)
    if flaw == "garbage":
        content = Pair(certificate=b"-----BEGIN", key=content.key)
    if flaw == "encrypted":
        key = serialization.load_pem_private_key(content.key, None)
        scheme = serialization.BestAvailableEncryption(b"secret")
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, scheme)
        content = Pair(certificate=content.certificate, key=key.private_bytes(*form))
    write(tmp_path, content)
    if flaw == "missing":
        (tmp_path / "tls.crt").unlink()
    words = {"missing": "tls.crt: No such file", "encrypted": "the key is encrypted"}
    metrics = Metrics()
    with pytest.raises(CertificateError, match=words.get(flaw, "cannot be used together")):
        from_files(tmp_path, VirtualClock(), metrics)
    assert (sample(metrics, "total"), sample(metrics, "errors_total")) == (1, 1)


@pytest.mark.scenario("MG6")
@virtual_time
async def test_a_certificate_of_its_own_is_made_anew_in_time(clock: VirtualClock) -> None:
    """When half of its time, a year unless told, has passed; for the names of the machine."""
    assert SelfSigned(clock).validity == timedelta(days=365)
    source = SelfSigned(clock, hosts=("localhost", "127.0.0.1", "pod-1"), validity=timedelta(hours=2))
    certificate = ReloadedCertificate(source, clock, Metrics())
    running = asyncio.create_task(certificate.run())
    found = x509.load_pem_x509_certificate(source().certificate)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["localhost", "127.0.0.1", "pod-1"]
    assert found.not_valid_before_utc < clock.now() < found.not_valid_after_utc == clock.now() + timedelta(hours=2)
    first = certificate._current
    await clock.sleep(3590)
    assert certificate._current is first
    await clock.sleep(30)
    assert certificate._current is not first
    await cancelled(running)


@pytest.mark.scenario("MG6")
def test_without_the_package_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates of one's own are an extra; a named certificate needs none."""
    real = builtins.__import__

    def without(name: str, *more, **others):
        if name.startswith("cryptography") or "self_signed" in (more[2] if len(more) > 2 and more[2] else ()):
            raise ImportError(name)
        return real(name, *more, **others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        CertificateError, match=r"kaito-controller\[metrics\], or name a certificate with --metrics-cert"
    ):
        SelfSigned(VirtualClock())()


@pytest.mark.scenario("MG6")
async def test_every_handler_of_the_metrics_server_is_guarded_and_has_its_own_path() -> None:
    """A second one for /metrics is refused, as is one that comes late."""

    class Nobody:
        async def refusal(self, authorization: str, method: str, path: str) -> Refusal | None:
            return Refusal(403, f"no {method} of {path} for {authorization}")

    async def secret(_):
        raise AssertionError("served")

    server = MetricsServer(host="127.0.0.1", port=0, metrics=Metrics(), access=Nobody())
    with pytest.raises(ValueError, match="/metrics: the metrics server has a handler"):
        server.add_handler("/metrics", secret)
    server.add_handler("/debug", secret)
    with pytest.raises(ValueError, match="/debug: the metrics server has a handler"):
        server.add_handler("/debug", secret)
    port = await server.start()
    try:
        with pytest.raises(RuntimeError, match="runs already"):
            server.add_handler("/late", secret)
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer x"}) as session:
            for path in ("/metrics", "/debug"):
                async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                    assert (response.status, await response.text()) == (403, f"no GET of {path} for Bearer x\n")
    finally:
        await server.stop()


@pytest.mark.scenario("MG6")
async def test_a_renewal_that_broke_keeps_no_server_listening() -> None:
    """Its error was raised by stop(), before the port was given back."""

    class Breaking:
        context = None

        async def run(self) -> None:
            raise KeyError("no such certificate")

    server = MetricsServer(host="127.0.0.1", port=0, metrics=Metrics(), certificate=Breaking())
    port = await server.start()
    await settle()
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
