"""Channel sources: events that no watch brings."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, NODES
from kaito_controller.kube.metadata import Object, labels
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.controller import predicates
from kaito_controller.machinery.controller.channel import SIZE, Channel, ChannelClosedError, ChannelSource
from kaito_controller.machinery.controller.source import enqueue_self
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.testing.clock import VirtualClock, cancelled, settle, virtual_time
from kaito_controller.testing.transport import obj

pytestmark = pytest.mark.scenario("PR7")


def cm(name: str) -> Object:
    return obj(CONFIG_MAPS, name, "1")


@virtual_time
async def test_a_full_channel_makes_its_sender_wait(clock: VirtualClock) -> None:
    """1024 objects fit; the next sender waits until somebody takes one, and nothing is lost or reordered."""
    channel = Channel()
    for number in range(SIZE):
        await channel.send(cm(str(number)))
    sender = asyncio.create_task(channel.send(cm("one more")))
    await clock.sleep(60)
    assert not sender.done()
    assert len(channel) == SIZE
    requests: list[Request] = []
    source = asyncio.create_task(ChannelSource(channel=channel, to_requests=enqueue_self).run(requests.append))
    await settle(4 * SIZE)
    assert sender.done()
    assert [request.name for request in requests] == [*map(str, range(SIZE)), "one more"]
    await cancelled(source)


@virtual_time
async def test_a_closed_channel_ends_its_source_after_the_last_object(clock: VirtualClock) -> None:
    """What was sent before is delivered; a sender that waits, or comes later, is told."""
    channel = Channel(size=1)
    await channel.send(cm("a"))
    waiting = asyncio.create_task(channel.send(cm("b")))
    await settle()
    await channel.close()
    with pytest.raises(ChannelClosedError, match="closed"):
        await waiting
    with pytest.raises(ChannelClosedError):
        await channel.send(cm("c"))
    requests: list[Request] = []
    await ChannelSource(channel=channel, to_requests=enqueue_self).run(requests.append)
    assert requests == [Request("default", "a")]


@virtual_time
@pytest.mark.scenario("PR1")
async def test_its_events_are_generic_and_pass_what_filters_updates(clock: VirtualClock) -> None:
    """Predicates on differences let them pass; one that looks at the object may stop them; doubles are merged."""
    channel = Channel()
    seen: list[Change] = []

    def noting(event: Event) -> bool:
        seen.append(event.change)
        return predicates.generation_changed(event) and labels(event.object) == {}

    def twice(item: Object) -> list[Request]:
        return [*enqueue_self(item)] * 2

    named = obj(NODES, "n", "1", namespace="")
    named["metadata"]["labels"] = {"skip": "me"}
    for item in (cm("a"), named):
        await channel.send(item)
    await channel.close()
    requests: list[Request] = []
    await ChannelSource(channel=channel, to_requests=twice, predicates=(noting,)).run(requests.append)
    assert seen == [Change.GENERIC, Change.GENERIC]
    assert requests == [Request("default", "a")]


@virtual_time
async def test_an_object_that_cannot_be_mapped_ends_no_source(clock: VirtualClock) -> None:
    """Nobody would take from the channel any more, and its senders would wait for ever once it is full."""
    channel = Channel(size=1)
    requests: list[Request] = []

    def owner(item: Object) -> list[Request]:
        return [Request("", item["spec"]["owner"])]

    source = asyncio.create_task(ChannelSource(channel=channel, to_requests=owner).run(requests.append))
    for item in (cm("odd"), cm("a") | {"spec": {"owner": "x"}}, cm("b") | {"spec": {"owner": "y"}}):
        await asyncio.wait_for(channel.send(item), 60)
    await channel.close()
    await source
    assert requests == [Request("", "x"), Request("", "y")]
