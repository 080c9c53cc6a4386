"""Probes and metrics over real HTTP, and the words of their answers."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from kaito_controller.machinery.healthz import AddressInUseError, metrics, probes, report
from kaito_controller.machinery.metrics import Metrics

CHECKS = {"ping": lambda: "", "caches": lambda: "the first lists are not complete"}


def test_a_report_says_ok_or_names_what_fails() -> None:
    """MG5: `ok`, a line a check when asked, 500 with the failing ones; excluded checks count as passed."""
    assert report({"ping": CHECKS["ping"]}) == (200, "ok")
    assert report({"ping": CHECKS["ping"]}, verbose=True) == (200, "[+]ping ok\ncheck passed\n")
    expected = "[+]ping ok\n[-]caches failed: the first lists are not complete\ncheck failed\n"
    assert report(CHECKS) == (500, expected)
    assert report(CHECKS, exclude=frozenset({"caches"})) == (200, "ok")


async def test_probes_and_metrics_answer() -> None:
    """MG5, MG6: each check has its own path; unknown paths are 404; the metrics are those of the registry."""
    health = probes("--health-probe-bind-address", "127.0.0.1", 0, health={"ping": CHECKS["ping"]}, ready=CHECKS)
    scrape = metrics("--metrics-bind-address", "127.0.0.1", 0, Metrics(CollectorRegistry()).registry)
    port, metrics_port = await health.start(), await scrape.start()
    try:
        async with aiohttp.ClientSession() as session:
            answers = {}
            for path in ("/healthz", "/healthz/ping", "/readyz", "/readyz?exclude=caches", "/healthz/none"):
                async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                    answers[path] = response.status
            async with session.get(f"http://127.0.0.1:{metrics_port}/metrics") as response:
                text = await response.text()
    finally:
        await health.stop()
        await scrape.stop()
    assert answers == {
        "/healthz": 200,
        "/healthz/ping": 200,
        "/readyz": 500,
        "/readyz?exclude=caches": 200,
        "/healthz/none": 404,
    }
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text


async def test_a_port_already_taken_is_said_with_its_flag() -> None:
    """The error names the flag and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        endpoint = metrics("--metrics-bind-address", "127.0.0.1", port, CollectorRegistry())
        with pytest.raises(AddressInUseError, match=f"--metrics-bind-address: cannot listen on 127.0.0.1:{port}"):
            await endpoint.start()
