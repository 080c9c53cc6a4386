"""Writes against scripted answers: which calls are made, and which are not."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, PODS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.apply import Applier, ApplyConflictError, field_conflicts
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.client.create_or_update import Outcome, create_or_patch, create_or_update
from kaito_controller.machinery.client.patch import patch_from
from kaito_controller.machinery.errors import ApiError
from kaito_controller.machinery.reconcile.request import TerminalError
from kaito_controller.machinery.rest.retry import DEFAULT_BACKOFF, DEFAULT_RETRY, Steps, retry_on_conflict
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import Answer, Call, ScriptedTransport, obj

CONFLICT = ApiError(409, "Conflict", "the object has been modified")
MISSING = ApiError(404, "NotFound")
PATH = "/api/v1/namespaces/default/pods/p"


def scripted(*answers: Answer) -> tuple[Client, list[Call]]:
    transport = ScriptedTransport(VirtualClock(), list(answers))
    return Client(transport), transport.calls


def pod(version: str = "1", **fields: object) -> Object:
    return obj(PODS, "p", version, **fields)


def made(calls: list[Call]) -> list[tuple[str, str, object]]:
    return [(call.method, call.path, call.body) for call in calls]


@pytest.mark.scenario("PT1", "PT3")
async def test_an_apply_names_manager_and_force_and_says_only_what_it_means() -> None:
    """A JSON body as apply patch; the status by its subresource alone."""
    client, calls = scripted({}, {})
    applier = Applier(client=client, field_manager="ours")
    intent = {"metadata": {"name": "p", "namespace": "default"}, "spec": {"a": 1}}
    await applier.apply(PODS, intent, force=False)
    await applier.apply_status(PODS, intent | {"status": {"b": 2}}, force=True)
    kind = {"apiVersion": "v1", "kind": "Pod"}
    assert made(calls) == [
        ("PATCH", PATH, kind | intent),
        ("PATCH", f"{PATH}/status", kind | intent | {"status": {"b": 2}}),
    ]
    assert [call.query for call in calls] == [
        {"fieldManager": "ours", "force": "false"},
        {"fieldManager": "ours", "force": "true"},
    ]
    assert {call.content_type for call in calls} == {"application/apply-patch+yaml"}


async def test_an_object_that_is_not_there_is_found_missing() -> None:
    """Any other refusal is no answer to the question."""
    client, calls = scripted(pod(), MISSING, CONFLICT)
    assert await client.find(PODS, "p", "default") == pod()
    assert await client.find(PODS, "p", "default") is None
    with pytest.raises(ApiError, match="409"):
        await client.find(PODS, "p", "default")
    assert {(call.method, call.path) for call in calls} == {("GET", PATH)}


async def test_a_deletion_of_what_is_gone_or_replaced_is_done() -> None:
    """The UID says which object is meant; a refusal for any other reason is told."""
    client, calls = scripted({}, MISSING, CONFLICT, ApiError(403, "Forbidden"))
    for _ in range(3):
        await client.delete_exactly(PODS, pod())
    with pytest.raises(ApiError, match="403"):
        await client.delete_exactly(PODS, pod())
    assert {(call.method, call.path) for call in calls} == {("DELETE", PATH)}
    assert all(call.body["preconditions"] == {"uid": "uid-default-p"} for call in calls)


@pytest.mark.scenario("PT1")
async def test_an_object_that_was_read_is_no_intent() -> None:
    """With a resourceVersion or managedFields it states what others own."""
    client, calls = scripted()
    applier = Applier(client=client, field_manager="ours")
    with pytest.raises(ValueError, match=r"metadata.resourceVersion of 'default/p': an applied intent has none"):
        await applier.apply(PODS, pod(), force=True)
    managed = {"metadata": {"name": "p", "namespace": "default", "managedFields": [{}]}}
    with pytest.raises(ValueError, match=r"metadata.managedFields"):
        await applier.apply_status(PODS, managed, force=True)
    with pytest.raises(ValueError, match="field_manager"):
        Applier(client=client, field_manager="")
    assert calls == []


@pytest.mark.scenario("PT2")
async def test_fields_of_others_end_the_retries() -> None:
    """The conflict names field and manager and is terminal; a conflict of versions is an ordinary error."""
    cause = {"reason": "FieldManagerConflict", "field": ".data.k", "message": 'conflict with "kubectl" using v1'}
    fields = ApiError(409, "Conflict", "Apply failed", {"causes": [cause, {"reason": "Other"}]})
    client, _ = scripted(fields, CONFLICT)
    applier = Applier(client=client, field_manager="ours")
    intent = {"metadata": {"name": "p", "namespace": "default"}}
    with pytest.raises(ApplyConflictError, match=r'Pod \'default/p\': .*\.data\.k \(conflict with "kubectl"') as found:
        await applier.apply(PODS, intent, force=False)
    assert isinstance(found.value, TerminalError)
    assert [each.field for each in found.value.conflicts] == [".data.k"]
    with pytest.raises(ApiError):
        await applier.apply(PODS, intent, force=False)
    assert field_conflicts(MISSING) == ()


@pytest.mark.scenario("PT4")
async def test_a_patch_holds_what_changed_and_the_version_when_asked() -> None:
    """No difference is no call, also with the lock; the server's own version number is no difference."""
    client, calls = scripted(pod("2"), pod("2"), pod("2"))
    before = pod("1", spec={"a": [1, 2], "b": 1})
    assert await patch_from(client, PODS, before, pod("7", spec={"b": 1, "a": [1, 2]}), optimistic_lock=True)
    assert calls == []
    await patch_from(client, PODS, before, pod("1", spec={"a": [1], "b": 1}))
    await patch_from(client, PODS, before, pod("1", spec={"a": [1, 2]}), optimistic_lock=True, subresource="status")
    labelled = {**before, "metadata": before["metadata"] | {"labels": {"l": "v"}}}
    await patch_from(client, PODS, before, labelled, optimistic_lock=True)
    assert made(calls) == [
        ("PATCH", PATH, {"spec": {"a": [1]}}),
        ("PATCH", f"{PATH}/status", {"spec": {"b": None}, "metadata": {"resourceVersion": "1"}}),
        ("PATCH", PATH, {"metadata": {"labels": {"l": "v"}, "resourceVersion": "1"}}),
    ]
    with pytest.raises(ValueError, match="an optimistic lock needs it"):
        await patch_from(client, PODS, {"metadata": {"name": "p"}}, pod(), optimistic_lock=True)


@pytest.mark.scenario("PT5")
@pytest.mark.parametrize(
    ("steps", "waits"),
    [(DEFAULT_RETRY, [0.010, 0.010, 0.010, 0.010]), (DEFAULT_BACKOFF, [0.010, 0.050, 0.250])],
)
@virtual_time
async def test_a_conflict_is_met_with_fresh_reads(clock: VirtualClock, steps: Steps, waits: list[float]) -> None:
    """Five tries 10 ms apart, or four with growing waits, each up to a tenth longer; then the conflict is raised."""
    at: list[float] = []

    async def change() -> None:
        at.append(clock.monotonic())
        raise CONFLICT

    with pytest.raises(ApiError) as raised:
        await retry_on_conflict(change, clock=clock, rng=Random(1), steps=steps)
    assert raised.value is CONFLICT
    spent = [later - earlier for earlier, later in pairwise(at)]
    assert len(spent) == len(waits)
    assert all(wait <= took < wait * 1.1 + 1e-9 for wait, took in zip(waits, spent, strict=True))
    assert len({took / wait for wait, took in zip(waits, spent, strict=True)}) == len(waits)


@pytest.mark.scenario("PT5")
@virtual_time
async def test_what_is_no_conflict_is_raised_at_once_and_success_returned(clock: VirtualClock) -> None:
    """A name that is taken is no conflict either: a fresh read does not free it."""
    for failure in (MISSING, ApiError(409, "AlreadyExists")):
        outcomes: list[ApiError | str] = [CONFLICT, failure]

        async def change(outcomes: list[ApiError | str] = outcomes) -> str:
            outcome = outcomes.pop(0)
            if isinstance(outcome, ApiError):
                raise outcome
            return outcome

        with pytest.raises(ApiError) as raised:
            await retry_on_conflict(change, clock=clock, rng=Random(1))
        assert raised.value is failure
        outcomes[:] = [CONFLICT, CONFLICT, "written"]
        assert await retry_on_conflict(change, clock=clock, rng=Random(1)) == "written"


@pytest.mark.scenario("PT6")
async def test_create_or_update_writes_what_matters() -> None:
    """Missing: created as mutated. Different: replaced with the version that was read. The same: not written."""
    wanted = {"metadata": {"name": "a", "namespace": "default"}}
    there = obj(CONFIG_MAPS, "a", "5", data={"k": "1"}, binaryData=None)
    client, calls = scripted(MISSING, {"made": True}, there, {"replaced": True}, there)

    def mutate(value: str):
        def change(found: Object) -> None:
            found["data"] = {"k": value}
            found["items"] = []

        return change

    assert await create_or_update(client, CONFIG_MAPS, wanted, mutate("1")) == (Outcome.CREATED, {"made": True})
    assert await create_or_update(client, CONFIG_MAPS, wanted, mutate("2")) == (Outcome.UPDATED, {"replaced": True})
    assert await create_or_update(client, CONFIG_MAPS, wanted, mutate("1")) == (Outcome.UNCHANGED, there)
    assert [call.method for call in calls] == ["GET", "POST", "GET", "PUT", "GET"]
    assert calls[1].body == wanted | {"data": {"k": "1"}, "items": []}
    assert calls[3].body == there | {"data": {"k": "2"}, "items": []}
    assert wanted == {"metadata": {"name": "a", "namespace": "default"}}


@pytest.mark.scenario("PT6")
@pytest.mark.parametrize("write", [create_or_update, create_or_patch])
@pytest.mark.parametrize("field", ["name", "namespace"])
@pytest.mark.parametrize("answer", [MISSING, pod()])
async def test_a_mutation_keeps_name_and_namespace(write, field: str, answer: Answer) -> None:
    """Otherwise another object would be written than the one that was read."""
    client, calls = scripted(answer)

    def mutate(found: Object) -> None:
        found["metadata"][field] = "other"

    with pytest.raises(ValueError, match="may not change name and namespace"):
        await write(client, PODS, pod(), mutate)
    assert [call.method for call in calls] == ["GET"]


@pytest.mark.scenario("PT6")
@pytest.mark.parametrize("write", [create_or_update, create_or_patch])
async def test_a_failed_read_is_no_reason_to_create(write) -> None:
    """Only 404 says that there is nothing."""
    client, calls = scripted(ApiError(500, "InternalError"))
    with pytest.raises(ApiError, match="500"):
        await write(client, PODS, pod(), lambda _: None)
    assert len(calls) == 1


@pytest.mark.scenario("PT6")
@pytest.mark.parametrize(
    ("spec", "state", "outcome", "bodies"),
    [
        (1, 1, Outcome.UNCHANGED, []),
        (2, 1, Outcome.UPDATED, [("", {"spec": {"s": 2}})]),
        (1, 2, Outcome.UPDATED_STATUS_ONLY, [("/status", {"status": {"s": 2}})]),
        (2, 2, Outcome.UPDATED_STATUS, [("", {"spec": {"s": 2}}), ("/status", {"status": {"s": 2}})]),
        (1, None, Outcome.UPDATED_STATUS_ONLY, [("/status", {"status": None})]),
    ],
)
async def test_create_or_patch_splits_body_and_status(
    spec: int, state: int | None, outcome: Outcome, bodies: list[tuple[str, object]]
) -> None:
    """Each half is written by its own call, and only when it changed."""
    client, calls = scripted(pod(spec={"s": 1}, status={"s": 1}), {"n": 1}, {"n": 2})

    def mutate(found: Object) -> None:
        found["spec"]["s"] = spec
        found["status"] = {"s": state} if state else None

    found, answer = await create_or_patch(client, PODS, pod(), mutate)
    assert found is outcome
    assert [(call.path.removeprefix(PATH), call.body) for call in calls[1:]] == bodies
    assert answer.get("n", 0) == len(bodies)


@pytest.mark.scenario("PT6")
async def test_create_or_patch_creates() -> None:
    """As create_or_update does; the words of the outcomes are controller-runtime's."""
    client, calls = scripted(MISSING, pod("9"))
    assert await create_or_patch(client, PODS, pod(), lambda _: None) == (Outcome.CREATED, pod("9"))
    assert [call.method for call in calls] == ["GET", "POST"]
    words = ["unchanged", "created", "updated", "updatedStatus", "updatedStatusOnly"]
    assert [each.value for each in Outcome] == words
