"""Leases, Events and reviews: what election, the recorder and the metrics door rely on."""

from __future__ import annotations

import pytest

from kaito_controller.kube.core import EVENTS, LEASES, SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.machinery.errors import ApiError, is_already_exists, is_conflict, is_invalid, is_not_found
from kaito_controller.testing.fake.core_events import CORE_EVENTS
from kaito_controller.testing.fake.reviews import User
from kaito_controller.testing.fake.stage import World, everywhere

MOMENT = "2026-01-01T00:00:00.000001Z"


def lease(world: World, holder: str, **spec: object) -> Object:
    """A Lease."""
    own = {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": MOMENT, "leaseTransitions": 0}
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {"name": "leader", "namespace": world.namespace},
        "spec": own | spec,
    }


@pytest.mark.scenario("LE3", "LE4")
@everywhere
async def test_a_lease_is_taken_once(world: World) -> None:
    """Of two creates one is refused as existing; of two updates from one version, one as a conflict."""
    client = world.client
    made = await client.create(LEASES, lease(world, "one"))
    with pytest.raises(ApiError) as caught:
        await client.create(LEASES, lease(world, "two"))
    assert is_already_exists(caught.value)
    renewed = await client.update(LEASES, made | {"spec": made["spec"] | {"renewTime": "2026-01-01T00:00:02.000000Z"}})
    assert resource_version(renewed) != resource_version(made)
    with pytest.raises(ApiError) as caught:
        await client.update(LEASES, made | {"spec": made["spec"] | {"holderIdentity": "two"}})
    assert is_conflict(caught.value)
    assert (await client.get(LEASES, "leader", world.namespace))["spec"]["holderIdentity"] == "one"


@pytest.mark.scenario("LE8")
@everywhere
async def test_a_lease_is_released(world: World) -> None:
    """An empty holder is stored; a duration of 1 is allowed, one of 0 is not."""
    made = await world.client.create(LEASES, lease(world, "one"))
    released = made | {"spec": made["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}}
    stored = await world.client.update(LEASES, released)
    assert not stored["spec"].get("holderIdentity")
    with pytest.raises(ApiError) as caught:
        await world.client.update(LEASES, stored | {"spec": stored["spec"] | {"leaseDurationSeconds": 0}})
    assert is_invalid(caught.value)


@everywhere
async def test_a_lease_is_made_by_an_update(world: World) -> None:
    """A PUT creates a missing Lease, but not one that is meant by its UID."""
    other = lease(world, "one")
    other["metadata"]["uid"] = "another"
    with pytest.raises(ApiError) as caught:
        await world.client.update(LEASES, other)
    assert is_not_found(caught.value) or is_conflict(caught.value)
    made = await world.client.update(LEASES, lease(world, "one"))
    assert made["spec"]["holderIdentity"] == "one"


@pytest.mark.scenario("LE4")
@everywhere
async def test_a_lease_is_never_updated_blindly(world: World) -> None:
    """An update without a version is refused: who has not read cannot take."""
    await world.client.create(LEASES, lease(world, "one"))
    with pytest.raises(ApiError) as caught:
        await world.client.update(LEASES, lease(world, "two"))
    assert is_invalid(caught.value)


def event(world: World, name: str, **fields: object) -> Object:
    """An Event."""
    own: Object = {
        "metadata": {"name": name, "namespace": world.namespace},
        "eventTime": MOMENT,
        "action": "Testing",
        "reason": "Tested",
        "type": "Normal",
        "note": "a note",
        "reportingController": "example.com/tester",
        "reportingInstance": "tester-1",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": world.namespace, "name": "p"},
    }
    return own | fields


@pytest.mark.scenario("EV5")
@everywhere
async def test_an_event_becomes_a_series(world: World) -> None:
    """A merge patch of the series counts an event; patching one that is gone is 404; its name is taken once."""
    client = world.client
    made = await client.create(EVENTS, event(world, "e"))
    assert (made["note"], made["regarding"]["name"]) == ("a note", "p")
    series = {"count": 2, "lastObservedTime": MOMENT}
    patched = await client.merge_patch(EVENTS, "e", world.namespace, {"series": series})
    assert patched["series"] == series
    with pytest.raises(ApiError) as caught:
        await client.create(EVENTS, event(world, "e"))
    assert is_already_exists(caught.value)
    with pytest.raises(ApiError) as caught:
        await client.merge_patch(EVENTS, "gone", world.namespace, {"series": series})
    assert is_not_found(caught.value)


@everywhere
async def test_events_are_selected(world: World) -> None:
    """Events are found by reason, type and what they regard."""
    await world.client.create(EVENTS, event(world, "e"))
    await world.client.create(EVENTS, event(world, "f", reason="Other", type="Warning"))
    for selector in ("reason=Tested", "type=Normal", "regarding.name=p,reason!=Other"):
        found = await world.client.list(EVENTS, world.namespace, field_selector=selector)
        assert [item["metadata"]["name"] for item in found] == ["e"], selector


@everywhere
async def test_events_by_their_older_names(world: World) -> None:
    """The core group shows the same events, at the same versions, under the names that kubectl knows."""
    client = world.client
    version = (await client.list_page(CORE_EVENTS, world.namespace)).resource_version
    made = await client.create(EVENTS, event(world, "e"))
    core = await client.get(CORE_EVENTS, "e", world.namespace)
    assert (core["message"], core["involvedObject"], core["reportingComponent"]) == (
        made["note"],
        made["regarding"],
        made["reportingController"],
    )
    assert resource_version(core) == resource_version(made)
    assert await client.list(CORE_EVENTS, world.namespace, field_selector="involvedObject.name=p") == [core]
    assert (await client.merge_patch(CORE_EVENTS, "e", world.namespace, {"message": "other"}))["message"] == "other"
    assert (await client.get(EVENTS, "e", world.namespace))["note"] == "other"
    async with world.watch(CORE_EVENTS, resourceVersion=version) as watcher:
        assert (await watcher.next())["object"] == core


@everywhere
async def test_events_that_are_refused(world: World) -> None:
    """An event needs its time and a type."""
    for missing in ("eventTime", "type", "reportingController", "reportingInstance", "action", "reason"):
        body = event(world, "e")
        del body[missing]
        with pytest.raises(ApiError) as caught:
            await world.client.create(EVENTS, body)
        assert is_invalid(caught.value), missing


@pytest.mark.scenario("MG6")
@everywhere
async def test_a_token_is_reviewed(world: World) -> None:
    """A token nobody knows is answered, not refused: not authenticated, and an error that says so."""
    review = {"apiVersion": TOKEN_REVIEWS.api_version, "kind": "TokenReview", "spec": {"token": "unheard"}}
    answer = await world.transport.request("POST", TOKEN_REVIEWS.path(), body=review)
    assert answer["kind"] == "TokenReview"
    assert not answer["status"].get("authenticated")
    assert "invalid bearer token" in answer["status"]["error"]
    if world.fake:
        world.fake.users.tokens["known"] = User(name="ann", groups=("team",))
        review["spec"] = {"token": "known"}
        answer = await world.transport.request("POST", TOKEN_REVIEWS.path(), body=review)
        assert answer["status"] == {"authenticated": True, "user": {"username": "ann", "groups": ["team"]}}


@pytest.mark.scenario("MG6")
@everywhere
async def test_access_is_reviewed(world: World) -> None:
    """Masters may everything, others nothing that was not granted; a review names exactly one thing."""
    attributes = {"path": "/metrics", "verb": "get"}

    async def review(spec: Object) -> Object:
        body = {"apiVersion": SUBJECT_ACCESS_REVIEWS.api_version, "kind": "SubjectAccessReview", "spec": spec}
        return await world.transport.request("POST", SUBJECT_ACCESS_REVIEWS.path(), body=body)

    for spec, allowed in (
        ({"user": "ann", "nonResourceAttributes": attributes}, False),
        ({"user": "ann", "groups": ["system:masters"], "nonResourceAttributes": attributes}, True),
    ):
        answer = await review(spec)
        assert (answer["kind"], answer["status"]["allowed"]) == ("SubjectAccessReview", allowed)
    with pytest.raises(ApiError) as caught:
        await review({"user": "ann"})
    assert is_invalid(caught.value)
    if world.fake:
        world.fake.users.grants.add(("ann", "get", "/metrics"))
        assert (await review({"user": "ann", "nonResourceAttributes": attributes}))["status"]["allowed"]
