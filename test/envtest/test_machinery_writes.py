"""What the machinery writes is what a real API server accepts: objects, events, leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, LEASES
from kaito_controller.kube.metadata import Object, resource_version, uid
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.errors import ApiError, is_already_exists, is_conflict, is_invalid, is_not_found
from kaito_controller.machinery.events import EventRecorder
from kaito_controller.machinery.leaderelection import Durations, LeaderElector
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer


@pytest.fixture
async def client(apiserver: APIServer) -> AsyncIterator[Client]:
    """A client as the administrator."""
    async with AioTransport(kubeconfig=apiserver.kubeconfig) as transport:
        yield Client(transport)


def config_map(namespace: str, name: str = "a", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


async def test_refusals_are_told_apart(client: Client, namespace: str) -> None:
    """404, AlreadyExists, Conflict by version and by UID, and Invalid with the field."""
    made = await client.create(CONFIG_MAPS, config_map(namespace))
    with pytest.raises(ApiError) as again:
        await client.create(CONFIG_MAPS, config_map(namespace))
    stale = {**made, "data": {"k": "1"}}
    await client.update(CONFIG_MAPS, stale)
    with pytest.raises(ApiError) as conflict:
        await client.update(CONFIG_MAPS, stale)
    with pytest.raises(ApiError) as another:
        await client.delete(CONFIG_MAPS, "a", namespace, uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(ApiError) as missing:
        await client.get(CONFIG_MAPS, "none", namespace)
    with pytest.raises(ApiError) as invalid:
        await client.create(CONFIG_MAPS, config_map(namespace, "Not_A_Name"))
    assert is_already_exists(again.value)
    assert is_conflict(conflict.value)
    assert is_conflict(another.value)
    assert is_not_found(missing.value)
    assert is_invalid(invalid.value)
    assert invalid.value.causes[0]["field"] == "metadata.name"
    await client.delete(CONFIG_MAPS, "a", namespace, uid=uid(made))


async def test_an_apply_owns_its_fields_and_repeats_change_nothing(client: Client, namespace: str) -> None:
    """PT1, PT3: a repeated apply keeps the resourceVersion; a field left out is removed, others' stay."""
    first = await client.apply(CONFIG_MAPS, config_map(namespace, ours="1", dropped="x"), field_manager="ours")
    await client.merge_patch(CONFIG_MAPS, "a", namespace, {"data": {"theirs": "2"}})
    second = await client.apply(CONFIG_MAPS, config_map(namespace, ours="1"), field_manager="ours")
    third = await client.apply(CONFIG_MAPS, config_map(namespace, ours="1"), field_manager="ours")
    assert first["data"] == {"ours": "1", "dropped": "x"}
    assert second["data"] == {"ours": "1", "theirs": "2"}
    assert resource_version(third) == resource_version(second)


async def test_a_list_in_pages_is_whole(client: Client, namespace: str) -> None:
    """RF3 on a real server: pages of two make up the whole, and every item has its kind."""
    for number in range(5):
        await client.create(CONFIG_MAPS, config_map(namespace, f"c{number}"))
    page = await client.list_page(CONFIG_MAPS, namespace, limit=2)
    names = [item["metadata"]["name"] for item in page.items]
    while page.continue_token:
        page = await client.list_page(CONFIG_MAPS, namespace, limit=2, continue_token=page.continue_token)
        names += [item["metadata"]["name"] for item in page.items]
    found = await client.list(CONFIG_MAPS, namespace)
    assert names == [f"c{number}" for number in range(5)]
    assert {(item["kind"], item["apiVersion"]) for item in found} == {("ConfigMap", "v1")}


async def test_events_reach_kubectl_describe(apiserver: APIServer, client: Client, namespace: str) -> None:
    """EV5, EV6: the server takes the event and its series; describe shows reason, reporter, note and count."""
    made = await client.create(CONFIG_MAPS, config_map(namespace))
    metrics = Metrics()
    recorder = EventRecorder(
        client=client,
        clock=RealClock(),
        rng=Random(),
        metrics=metrics,
        controller="kaito-controller",
        instance="kaito-controller-here",
    )
    for _ in range(2):
        recorder.event(made, "Warning", "DoesNotFit", "needs 80Gi, has 16Gi", action="Plan")
        await recorder.flush()
    assert metrics.registry.get_sample_value("event_recorder_events_total", {"outcome": "sent"}) == 2
    described = await asyncio.to_thread(apiserver.kubectl, "describe", "configmap", "a", f"--namespace={namespace}")
    line = next(line for line in described.splitlines() if "DoesNotFit" in line)
    assert line.split()[:2] == ["Warning", "DoesNotFit"]
    assert "(x2 over" in line
    assert "kaito-controller" in line
    assert line.endswith("needs 80Gi, has 16Gi")


async def test_the_lease_changes_hands_on_a_release(client: Client, namespace: str) -> None:
    """LE3, LE6, LE8 on a real server: the second leads only after the first has let go."""
    durations = Durations(lease_s=5, renew_deadline_s=3, retry_s=0.1)

    def elector(identity: str) -> LeaderElector:
        return LeaderElector(
            client=client,
            clock=RealClock(),
            rng=Random(),
            metrics=Metrics(),
            namespace=namespace,
            name="lease",
            identity=identity,
            durations=durations,
        )

    first, second = elector("first"), elector("second")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    holding = asyncio.create_task(first.hold())
    seen: set[str] = set()
    while len(seen) < 6:
        seen.add(resource_version(await client.get(LEASES, "lease", namespace)))
    assert (waiting.done(), holding.done()) == (False, False)
    holding.cancel()
    await first.release()
    await asyncio.wait_for(waiting, 3)
    assert (first.is_leader, second.is_leader) == (False, True)
    await second.release()
