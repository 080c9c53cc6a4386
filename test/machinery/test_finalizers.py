"""Finalizers: added while an object lives, run once it shall go, and kept by whatever fails."""

from __future__ import annotations

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.client.finalizers import (
    FinalizeError,
    FinalizerSet,
    with_finalizers,
    without_finalizers,
)
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.transport import Answer, ScriptedTransport, obj

pytestmark = pytest.mark.scenario("PT8")
ONE, TWO, OTHER = "ours.example/one", "ours.example/two", "theirs.example/x"


def config_map(*finalizers: str, deleting: bool = False, version: str = "1", **fields: object) -> Object:
    made = obj(CONFIG_MAPS, "a", version, **fields)
    made["metadata"] |= {"finalizers": list(finalizers)} if finalizers else {}
    made["metadata"] |= {"deletionTimestamp": "2026-11-23T00:00:00Z"} if deleting else {}
    return made


class Work:
    """Two finalizers that write down their runs; those in `failing` fail, those in `telling` set a condition."""

    def __init__(self, failing: str = "", telling: str = "") -> None:
        self.ran: list[str] = []
        self.set = FinalizerSet()
        for name in (ONE, TWO):
            self.set.register(name, self._finalizer(name, fails=name in failing, tells=name in telling))

    def _finalizer(self, name: str, *, fails: bool, tells: bool):
        async def run(found: Object) -> None:
            self.ran.append(name)
            if tells:
                found["status"] = {"because": name}
            if fails:
                raise RuntimeError("still in use")

        return run


def test_a_patch_replaces_the_list_of_the_version_that_was_read() -> None:
    """So nobody else's finalizer is lost; where nothing changes, a patch says nothing."""
    before = config_map(OTHER, ONE, version="7")
    assert with_finalizers(before, ONE, TWO) == {"finalizers": [OTHER, ONE, TWO], "resourceVersion": "7"}
    assert without_finalizers(before, ONE, TWO) == {"finalizers": [OTHER], "resourceVersion": "7"}
    assert (with_finalizers(before, ONE), without_finalizers(before, TWO)) == ({}, {})
    assert before == config_map(OTHER, ONE, version="7")


def test_a_patch_without_a_version_is_refused() -> None:
    """It would replace the list whatever is in it by now."""
    with pytest.raises(ValueError, match=r"metadata.resourceVersion of 'ns/a'"):
        with_finalizers({"metadata": {"name": "a", "namespace": "ns"}}, ONE)


async def test_a_living_object_gets_what_is_missing() -> None:
    """Nothing runs, others' finalizers stay, and what is handed in is not changed."""
    work = Work()
    before = config_map(OTHER, TWO)
    done = await work.set.finalize(before)
    assert (done.updated, done.status_updated, done.errors, work.ran) == (True, False, {}, [])
    assert done.obj["metadata"]["finalizers"] == [OTHER, TWO, ONE]
    assert before == config_map(OTHER, TWO)
    again = await work.set.finalize(done.obj)
    assert (again.updated, again.obj) == (False, done.obj)


async def test_an_object_that_goes_is_finalized_by_what_stands_on_it() -> None:
    """Present: run, then removed. Absent: neither run nor added."""
    work = Work()
    done = await work.set.finalize(config_map(OTHER, TWO, deleting=True))
    assert (done.updated, done.obj["metadata"]["finalizers"], work.ran) == (True, [OTHER], [TWO])
    work = Work()
    done = await work.set.finalize(config_map(OTHER, deleting=True))
    assert (done.updated, work.ran) == (False, [])


async def test_a_failure_stays_and_stops_nobody() -> None:
    """The one that failed is kept and may have set a status; the other has run and is removed."""
    work = Work(failing=ONE, telling=ONE)
    done = await work.set.finalize(config_map(ONE, TWO, deleting=True))
    assert work.ran == [ONE, TWO]
    assert (done.updated, done.status_updated) == (True, True)
    assert done.obj["metadata"]["finalizers"] == [ONE]
    assert done.obj["status"] == {"because": ONE}
    assert [(name, str(error)) for name, error in done.errors.items()] == [(ONE, "still in use")]


@pytest.mark.parametrize("name", ["plain", ONE])
def test_a_key_is_qualified_and_registered_once(name: str) -> None:
    """The API server warns of others, and two owners of one key would undo each other's work."""
    with pytest.raises(ValueError, match=f"finalizer '{name}'"):
        Work().set.register(name, Work().set._finalizers[ONE])


def scripted(*answers: Answer) -> tuple[Client, ScriptedTransport]:
    transport = ScriptedTransport(VirtualClock(), list(answers))
    return Client(transport), transport


async def test_the_outcome_is_written_status_first() -> None:
    """The last finalizer takes the object with it, so the status has to be there before, under its own version."""
    client, transport = scripted(config_map(ONE, deleting=True, version="2"), config_map(deleting=True, version="3"))
    found = await Work(telling=ONE).set.reconcile(client, CONFIG_MAPS, config_map(ONE, deleting=True))
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "3"
    assert [(call.path.rpartition("/")[2], call.body) for call in transport.calls] == [
        ("status", {"status": {"because": ONE}, "metadata": {"resourceVersion": "1"}}),
        ("a", {"metadata": {"finalizers": [], "resourceVersion": "2"}}),
    ]


async def test_nothing_to_write_is_not_written() -> None:
    """A living object with its finalizers, or one that goes without them."""
    client, transport = scripted()
    for present in (config_map(ONE, TWO), config_map(OTHER, deleting=True)):
        assert await Work().set.reconcile(client, CONFIG_MAPS, present) == present
    assert transport.calls == []


async def test_failures_are_told_after_the_rest_was_written() -> None:
    """The reconcile fails, so it is tried again, with the finalizer that succeeded gone."""
    client, transport = scripted(config_map(ONE, deleting=True, version="2"))
    with pytest.raises(FinalizeError, match=f"{ONE}: still in use") as failed:
        await Work(failing=ONE).set.reconcile(client, CONFIG_MAPS, config_map(ONE, TWO, deleting=True))
    assert isinstance(failed.value.__cause__, RuntimeError)
    assert [call.body for call in transport.calls] == [{"metadata": {"finalizers": [ONE], "resourceVersion": "1"}}]


async def test_an_object_that_is_gone_is_done_and_a_conflict_is_raised() -> None:
    """Somebody else removed the last finalizer, or changed the list: then read again."""
    client, _ = scripted(ApiError(404, "NotFound"), ApiError(409, "Conflict"))
    going = config_map(ONE, deleting=True)
    assert await Work().set.reconcile(client, CONFIG_MAPS, going) is None
    with pytest.raises(ApiError, match="409"):
        await Work().set.reconcile(client, CONFIG_MAPS, going)
