"""The fixtures with a real API server, for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kaito_controller.app.reports import PodReports
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.fixtures import apiserver, cluster, cluster_namespace, namespace, own_apiserver
from kaito_controller.testing.scenario import Stage, stage

__all__ = ["apiserver", "cluster", "cluster_namespace", "namespace", "own_apiserver"]


@pytest.fixture
async def hands(apiserver: APIServer, namespace: str) -> AsyncIterator[Stage]:
    """Open the hands of the test in its namespace, and remove its Workspaces at the end."""
    async with stage(apiserver.kubeconfig, namespace) as opened:
        yield opened


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Play the agents of pods, which nothing runs here: what each path answers."""
    said: dict[str, Any] = {}

    async def read(_: PodReports, path: str) -> bytes:
        if path not in said:
            raise ApiError(503, "ServiceUnavailable", "no agent")
        return json.dumps(said[path]).encode()

    monkeypatch.setattr(PodReports, "_bytes", read)
    return said
