"""A real API server forgets its history while an informer cannot hear it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kaito_controller.kube.metadata import Object, key
from kaito_controller.machinery.cache.event import Change
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.forwarder import forwarding
from kaito_controller.testing.recorder import config_map, converged, recording

NAMESPACE = "chaos"


@pytest.mark.slow
@pytest.mark.scenario("RF14", "RF21", "FQ2", "PR4", "SI10")
async def test_what_was_compacted_away_is_made_up_for(server: APIServer, tmp_path: Path) -> None:
    """The history that an informer asks for is gone.

    Given an informer whose wire is cut, objects that are changed, deleted and made anew meanwhile, and a history that
    is compacted before the wire is mended
    When the informer asks for what followed its last version and is told 410
    Then it lists, tells the deletion as one whose last state it does not know, and misses nothing.
    """
    await asyncio.to_thread(
        server.apply, *(config_map(name, NAMESPACE, "before") for name in ("kept", "gone", "again"))
    )
    async with forwarding(int(server.url.rpartition(":")[2])) as wire:
        kubeconfig = wire.kubeconfig(server.kubeconfig, tmp_path)
        async with recording(kubeconfig, NAMESPACE) as recorder:
            await converged(server, recorder)
            first_uid = next(event.object["metadata"]["uid"] for event in recorder.events if _is(event.object, "again"))
            told = len(recorder.events)

            wire.cut()
            await asyncio.to_thread(server.kubectl, "delete", "configmap", "gone", "again", f"--namespace={NAMESPACE}")
            await asyncio.to_thread(
                server.apply, config_map("kept", NAMESPACE, "after"), config_map("again", NAMESPACE, "after")
            )
            await asyncio.to_thread(server.compact_etcd)
            await asyncio.to_thread(server.restart_apiserver, kill=True)
            wire.reset()
            wire.mend()

            await converged(server, recorder, gone={f"{NAMESPACE}/gone"})
            later = recorder.events[told:]
            deleted = [event for event in later if event.change is Change.DELETED]
            assert [(key(event.object), event.final_state_unknown) for event in deleted] == [
                (f"{NAMESPACE}/gone", True)
            ]
            again = next(event for event in later if _is(event.object, "again"))
            assert again.change is Change.UPDATED
            assert again.object["metadata"]["uid"] != first_uid


def _is(obj: Object, name: str) -> bool:
    return bool(obj["metadata"]["name"] == name)
