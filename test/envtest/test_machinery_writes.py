"""What the machinery writes is what a real API server accepts: objects, events, leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from kaito_controller.kube.controller_reference import set_controller_reference
from kaito_controller.kube.core import CONFIG_MAPS, LEASES, PODS
from kaito_controller.kube.metadata import Object, resource_version, uid
from kaito_controller.machinery.client.apply import Applier, ApplyConflictError
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.client.create_or_update import Outcome, create_or_patch, create_or_update
from kaito_controller.machinery.client.finalizers import FinalizeError, FinalizerSet
from kaito_controller.machinery.client.patch import patch_from
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.election.leadership import Durations
from kaito_controller.machinery.errors import ApiError, is_already_exists, is_conflict, is_invalid, is_not_found
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.rest.retry import Steps, retry_on_conflict
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


@pytest.mark.scenario("PT1", "PT3")
async def test_an_apply_owns_its_fields_and_repeats_change_nothing(client: Client, namespace: str) -> None:
    """A repeated apply keeps the resourceVersion; a field left out is removed, others' stay."""
    first = await client.apply(CONFIG_MAPS, config_map(namespace, ours="1", dropped="x"), field_manager="ours")
    await client.merge_patch(CONFIG_MAPS, "a", namespace, {"data": {"theirs": "2"}})
    second = await client.apply(CONFIG_MAPS, config_map(namespace, ours="1"), field_manager="ours")
    third = await client.apply(CONFIG_MAPS, config_map(namespace, ours="1"), field_manager="ours")
    assert first["data"] == {"ours": "1", "dropped": "x"}
    assert second["data"] == {"ours": "1", "theirs": "2"}
    assert resource_version(third) == resource_version(second)


@pytest.mark.scenario("PT1", "PT2")
async def test_fields_of_others_refuse_an_apply_without_force(client: Client, namespace: str) -> None:
    """Each field and its owner is named, nothing is written; with force the fields are ours."""
    await client.apply(CONFIG_MAPS, config_map(namespace, a="theirs", b="theirs"), field_manager="kubectl")
    ours = Applier(client=client, field_manager="ours")
    with pytest.raises(ApplyConflictError) as refused:
        await ours.apply(CONFIG_MAPS, config_map(namespace, a="ours", b="ours", c="ours"), force=False)
    assert sorted(each.field for each in refused.value.conflicts) == [".data.a", ".data.b"]
    assert 'conflict with "kubectl"' in str(refused.value)
    assert (await client.get(CONFIG_MAPS, "a", namespace))["data"] == {"a": "theirs", "b": "theirs"}
    await ours.apply(CONFIG_MAPS, config_map(namespace, a="ours", b="ours", c="ours"), force=True)
    same = await ours.apply(CONFIG_MAPS, config_map(namespace, a="ours", b="ours", c="ours"), force=False)
    assert same["data"] == {"a": "ours", "b": "ours", "c": "ours"}


@pytest.mark.scenario("PT3")
async def test_a_status_is_written_by_its_subresource_only(client: Client, namespace: str) -> None:
    """A status in the body of the object is dropped; one field left out of the next status is removed."""
    ours = Applier(client=client, field_manager="ours")
    pod: Object = {"metadata": {"name": "p", "namespace": namespace}}
    spec = {"containers": [{"name": "c", "image": "i"}]}
    made = await ours.apply(PODS, pod | {"spec": spec, "status": {"message": "body"}}, force=False)
    assert "message" not in made["status"]
    first = await ours.apply_status(PODS, pod | {"status": {"message": "m", "reason": "R"}}, force=False)
    second = await ours.apply_status(PODS, pod | {"status": {"message": "m"}}, force=False)
    assert (first["status"]["message"], first["status"]["reason"]) == ("m", "R")
    assert (second["status"]["message"], second["status"].get("reason")) == ("m", None)
    assert second["spec"]["containers"][0]["image"] == "i"


@pytest.mark.scenario("PT4")
async def test_a_merge_patch_replaces_lists_and_may_insist_on_its_version(client: Client, namespace: str) -> None:
    """Without the lock the last writer's list wins; with it a stale one is a conflict; no difference is no call."""
    made = await client.create(CONFIG_MAPS, config_map(namespace, k="1"))

    def with_finalizers(obj: Object, *names: str) -> Object:
        return {**obj, "metadata": {**obj["metadata"], "finalizers": list(names)}}

    theirs = await patch_from(client, CONFIG_MAPS, made, with_finalizers(made, "a.example/x"))
    with pytest.raises(ApiError) as stale:
        await patch_from(client, CONFIG_MAPS, made, with_finalizers(made, "b.example/y"), optimistic_lock=True)
    assert is_conflict(stale.value)
    both = with_finalizers(theirs, "a.example/x", "b.example/y")
    fresh = await patch_from(client, CONFIG_MAPS, theirs, both, optimistic_lock=True)
    assert fresh["metadata"]["finalizers"] == ["a.example/x", "b.example/y"]
    assert await patch_from(client, CONFIG_MAPS, fresh, fresh, optimistic_lock=True) == fresh
    bare = await patch_from(client, CONFIG_MAPS, fresh, with_finalizers(fresh), optimistic_lock=True)
    assert bare["metadata"].get("finalizers", []) == []
    assert bare["data"] == {"k": "1"}


@pytest.mark.scenario("PT5")
async def test_six_writers_of_one_object_all_come_through(client: Client, namespace: str) -> None:
    """Each adds its own key by a full update; a conflict is met with a fresh read, and no key is lost."""
    await client.create(CONFIG_MAPS, config_map(namespace))
    conflicts = 0

    async def add(number: int) -> None:
        async def change() -> None:
            nonlocal conflicts
            found = await client.get(CONFIG_MAPS, "a", namespace)
            await asyncio.sleep(0)
            try:
                await client.update(CONFIG_MAPS, found | {"data": found.get("data", {}) | {f"k{number}": "v"}})
            except ApiError:
                conflicts += 1
                raise

        await retry_on_conflict(change, clock=RealClock(), rng=Random(number), steps=Steps(tries=20))

    await asyncio.gather(*(add(number) for number in range(6)))
    found = await client.get(CONFIG_MAPS, "a", namespace)
    assert sorted(found["data"]) == [f"k{number}" for number in range(6)]
    assert conflicts


@pytest.mark.scenario("PT6")
async def test_create_or_update_and_create_or_patch_say_what_they_did(client: Client, namespace: str) -> None:
    """Through the whole life of a Pod: created, unchanged, updated, and the status apart from the rest."""
    wanted: Object = {
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }

    def mutate(label: str, message: str):
        def change(found: Object) -> None:
            found["metadata"].setdefault("labels", {})["l"] = label
            found.setdefault("status", {})["message"] = message

        return change

    outcomes = []
    steps = [("1", "w"), ("1", "w"), ("1", "w"), ("2", "w"), ("2", "x"), ("3", "y"), ("3", "y")]
    for label, message in steps:
        outcome, found = await create_or_patch(client, PODS, wanted, mutate(label, message))
        outcomes.append(outcome.value)
        assert found["metadata"]["labels"] == {"l": label}
        # The server takes no status with a create; the next call finds it missing.
        assert found["status"].get("message") == (None if outcome is Outcome.CREATED else message)
    assert outcomes == [
        "created",
        "updatedStatusOnly",
        "unchanged",
        "updated",
        "updatedStatusOnly",
        "updatedStatus",
        "unchanged",
    ]
    outcomes = []
    for label in ("3", "4"):
        outcome, found = await create_or_update(client, PODS, wanted, mutate(label, "y"))
        outcomes.append(outcome.value)
    assert outcomes == ["unchanged", "updated"]
    assert found["metadata"]["labels"] == {"l": "4"}


@pytest.mark.scenario("PT7")
async def test_a_controller_reference_is_what_the_server_takes(client: Client, namespace: str) -> None:
    """A second controller, which is refused here, is refused there too."""
    owner = await client.create(CONFIG_MAPS, config_map(namespace, "owner"))
    other = await client.create(CONFIG_MAPS, config_map(namespace, "other"))
    owned = await client.create(CONFIG_MAPS, set_controller_reference(CONFIG_MAPS, owner, config_map(namespace, "b")))
    (reference,) = owned["metadata"]["ownerReferences"]
    assert (reference["uid"], reference["controller"], reference["blockOwnerDeletion"]) == (uid(owner), True, True)
    with pytest.raises(ValueError, match="one controller at most"):
        set_controller_reference(CONFIG_MAPS, other, owned)
    both = [reference, {**reference, "name": "other", "uid": uid(other)}]
    with pytest.raises(ApiError) as refused:
        await client.merge_patch(CONFIG_MAPS, "b", namespace, {"metadata": {"ownerReferences": both}})
    assert is_invalid(refused.value)


@pytest.mark.scenario("PT8")
async def test_finalizers_hold_an_object_until_their_work_is_done(client: Client, namespace: str) -> None:
    """Added while it lives; the failing one keeps it, the other goes; a later success lets it go; nothing is added."""
    in_use = True
    ran: list[str] = []
    ours = FinalizerSet()

    async def clean(_: Object) -> None:
        ran.append("clean")

    async def release(_: Object) -> None:
        ran.append("release")
        if in_use:
            raise RuntimeError("still in use")

    ours.register("ours.example/clean", clean)
    ours.register("ours.example/release", release)
    made = await client.create(CONFIG_MAPS, config_map(namespace))
    guarded = await ours.reconcile(client, CONFIG_MAPS, made)
    assert guarded is not None
    assert guarded["metadata"]["finalizers"] == ["ours.example/clean", "ours.example/release"]
    assert await ours.reconcile(client, CONFIG_MAPS, guarded) == guarded
    with pytest.raises(ApiError) as stale:
        await ours.reconcile(client, CONFIG_MAPS, made)
    assert is_conflict(stale.value)
    await client.delete(CONFIG_MAPS, "a", namespace)
    with pytest.raises(FinalizeError, match="still in use"):
        await ours.reconcile(client, CONFIG_MAPS, await client.get(CONFIG_MAPS, "a", namespace))
    held = await client.get(CONFIG_MAPS, "a", namespace)
    assert held["metadata"]["finalizers"] == ["ours.example/release"]
    in_use = False
    await ours.reconcile(client, CONFIG_MAPS, held)
    with pytest.raises(ApiError) as gone:
        await client.get(CONFIG_MAPS, "a", namespace)
    assert is_not_found(gone.value)
    assert ran == ["clean", "release", "release"]


@pytest.mark.scenario("RF3")
async def test_a_list_in_pages_is_whole(client: Client, namespace: str) -> None:
    """On a real server: pages of two make up the whole, and every item has its kind."""
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
