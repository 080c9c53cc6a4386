from __future__ import annotations

import http.client

import pytest

from inference_server.serve import rank_health


def status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_rank_without_an_api_still_answers_its_probes():
    """/health is 200 and anything else 404, until the block ends and the port is free again."""
    with rank_health.answering("127.0.0.1", 0) as port:
        assert [200, 200, 404] == [status(port, path) for path in ("/health", "/health?x=1", "/v1/models")]
    with pytest.raises(ConnectionRefusedError):
        status(port, "/health")
    with rank_health.answering("127.0.0.1", port) as again:
        assert again == port
