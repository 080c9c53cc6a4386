"""Probes over real HTTP, and the words of their answers."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.server.endpoint import AddressInUseError
from kaito_controller.machinery.server.healthz import probes, report
from kaito_controller.machinery.server.metrics_server import MetricsServer
from kaito_controller.testing.clock import cancelled
from kaito_controller.testing.ports import free_port

PING = {"ping": lambda: ""}
CHECKS = {**PING, "caches": lambda: "the first lists are not complete"}

NO_MATCH = 'warn: some health checks cannot be excluded: no matches for "a","x"'


def broken() -> str:
    raise KeyError("lost")


@pytest.mark.scenario("MG5")
@pytest.mark.parametrize(
    ("checks", "verbose", "exclude", "answer"),
    [
        (PING, False, (), (200, "ok")),
        (PING, True, (), (200, "[+]ping ok\nhealthz check passed\n")),
        ({}, True, (), (200, "[+]ping ok\nhealthz check passed\n")),
        ({}, False, (), (200, "ok")),
        (CHECKS, False, (), (500, "[+]ping ok\n[-]caches failed: reason withheld\nhealthz check failed\n")),
        (CHECKS, False, ("caches",), (200, "ok")),
        (CHECKS, True, ("caches",), (200, "[+]ping ok\n[+]caches excluded: ok\nhealthz check passed\n")),
        (
            PING,
            True,
            ("x", "a"),
            (200, f"[+]ping ok\n{NO_MATCH}\nhealthz check passed\n"),
        ),
        ({"odd": broken}, False, (), (500, "[-]odd failed: reason withheld\nhealthz check failed\n")),
    ],
)
def test_a_report_says_ok_or_names_what_fails(checks, verbose: bool, exclude, answer: tuple[int, str]) -> None:
    """A line a check when asked or when one fails, never the reason; no checks at all is a ping."""
    assert report("healthz", checks, verbose=verbose, exclude=frozenset(exclude)) == answer


@pytest.mark.scenario("MG5")
async def test_probes_answer_as_kubelet_asks() -> None:
    """Each check has its own path, which tells the reason; unknown paths are 404; the rest is as reported."""
    endpoint = probes("--health-probe-bind-address", "127.0.0.1", 0, health={}, ready=CHECKS)
    port = await endpoint.start()
    paths = {
        "/healthz": (200, "ok"),
        "/healthz/": (200, "ok"),
        "/healthz/ping": (200, "ok"),
        "/healthz/none": (404, None),
        "/none": (404, None),
        "/readyz": (500, "[+]ping ok\n[-]caches failed: reason withheld\nreadyz check failed\n"),
        "/readyz/ping": (200, "ok"),
        "/readyz/caches": (500, "internal server error: the first lists are not complete\n"),
        "/readyz?exclude=caches": (200, "ok"),
        "/readyz?verbose=true&exclude=caches": (200, "[+]ping ok\n[+]caches excluded: ok\nreadyz check passed\n"),
        "/readyz?verbose&exclude=caches&exclude=ping": (
            200,
            "[+]ping excluded: ok\n[+]caches excluded: ok\nreadyz check passed\n",
        ),
    }
    try:
        async with aiohttp.ClientSession() as session:
            for path, (status, body) in paths.items():
                async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                    assert response.status == status, path
                    if body is not None:
                        assert await response.text() == body
                        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
                        assert response.headers["X-Content-Type-Options"] == "nosniff"
            async with session.post(f"http://127.0.0.1:{port}/healthz") as response:
                assert response.status == 405
    finally:
        await endpoint.stop()


@pytest.mark.scenario("MG6", "MX6")
async def test_metrics_are_those_of_the_registry() -> None:
    """Plain HTTP unless told otherwise, and without the client library's own timestamps."""
    server = MetricsServer(host="127.0.0.1", port=0, metrics=Metrics(CollectorRegistry()))
    port = await server.start()
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
            text = await response.text()
    finally:
        await server.stop()
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text


@pytest.mark.parametrize("turns", range(6))
async def test_a_start_that_is_cancelled_gives_the_port_back(turns: int) -> None:
    """At whatever point of the start: an operator that is stopped then must not leave a port that nobody answers on."""
    port = free_port()
    server = MetricsServer(host="127.0.0.1", port=port, metrics=Metrics())
    starting = asyncio.create_task(server.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    await cancelled(starting)
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_already_taken_is_said_with_its_flag() -> None:
    """The error names the flag and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = MetricsServer(host="127.0.0.1", port=port, metrics=Metrics())
        with pytest.raises(AddressInUseError, match=f"--metrics-bind-address: cannot listen on 127.0.0.1:{port}"):
            await server.start()
