"""The machinery against a real API server that is killed under it: nothing that happened is missed."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.metadata import Object
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.control_plane import ETCD
from kaito_controller.testing.recorder import converged, recording

pytestmark = pytest.mark.slow

NAMESPACE = "restarts"


def documents(*names: str, text: str) -> list[Object]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {"t": text},
        }
        for name in names
    ]


def kill_etcd(server: APIServer) -> None:
    server.control_plane.stop_component(ETCD, grace_s=0.0)


async def test_a_kill_of_apiserver_and_etcd_loses_no_change(own_apiserver: APIServer) -> None:
    """T9: created, changed and deleted before, between and after kills of both; every key is reconciled at its last."""
    server = own_apiserver
    await asyncio.to_thread(server.create_namespace, NAMESPACE)
    await asyncio.to_thread(server.apply, *documents("a", "b", "c", text="before"))
    async with recording(server.kubeconfig, NAMESPACE) as recorder:
        await converged(server, recorder)

        await asyncio.to_thread(server.restart_apiserver, kill=True)
        await asyncio.to_thread(server.apply, *documents("a", "d", text="after the apiserver's kill"))
        await asyncio.to_thread(server.kubectl, "delete", "configmap", "b", f"--namespace={NAMESPACE}")
        await converged(server, recorder, gone={f"{NAMESPACE}/b"})

        await asyncio.to_thread(kill_etcd, server)
        await asyncio.to_thread(server.start_etcd)
        await asyncio.to_thread(server.apply, *documents("c", "e", text="after etcd's kill"))
        await converged(server, recorder, gone={f"{NAMESPACE}/b"})

        await asyncio.to_thread(server.stop_apiserver, kill=True)
        await asyncio.to_thread(kill_etcd, server)
        await asyncio.to_thread(server.control_plane.start_etcd)
        await asyncio.to_thread(server.start_apiserver)
        await asyncio.to_thread(server.kubectl, "delete", "configmap", "a", "e", f"--namespace={NAMESPACE}")
        await asyncio.to_thread(server.apply, *documents("a", "f", text="again, as another object"))
        await converged(server, recorder, gone={f"{NAMESPACE}/b", f"{NAMESPACE}/e"})
