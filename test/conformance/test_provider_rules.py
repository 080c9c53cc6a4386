"""The rules of the provider protocol, kept by every provider: what the node provisioner builds on."""

from __future__ import annotations

import asyncio

import pytest
from attrs import evolve

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NodeClaimStatus
from kaito_controller.providers.errors import InstanceNotFound
from kaito_controller.providers.protocol import KAITO_NODE_CLASS, CloudProvider
from kaito_controller.testing.provisioner import until


def launched(claim, instance):
    """The claim as it is after its launch was written down."""
    return evolve(claim, status=NodeClaimStatus(provider_id=instance.provider_id))


async def of(provider, claim):
    """The instances that the provider lists for a claim and is not ending."""
    found = await provider.list()
    return [one for one in found if one.claim_uid == claim.metadata.uid and not one.deleting]


async def ended(provider, claim):
    """End a claim's machine, as the provisioner does: until the provider says that it is gone."""

    async def gone():
        try:
            await provider.delete(claim)
        except InstanceNotFound:
            return True
        return False

    await until("the machine is gone", gone, patience_s=60)


def test_it_is_a_provider(subject):
    """It has every part of the protocol, a name and a node class."""
    assert isinstance(subject.provider, CloudProvider)
    assert subject.provider.name
    assert subject.provider.node_classes[0] == KAITO_NODE_CLASS


async def test_a_created_machine_is_described_and_listed(subject, make_claim):
    """Create tells what it made; get and list tell the same, with claim and creation time."""
    claim = make_claim()
    made = await subject.provider.create(claim)
    assert (made.claim_uid, made.claim_name) == (claim.metadata.uid, claim.metadata.name)
    assert made.labels[keys.INSTANCE_TYPE] == "Standard_NC6s_v3"
    assert str(made.capacity[keys.NVIDIA_GPU]) == "1"
    found = await subject.provider.get(made.provider_id)
    assert (found.provider_id, found.claim_uid) == (made.provider_id, claim.metadata.uid)
    listed = await of(subject.provider, claim)
    assert [one.provider_id for one in listed] == [made.provider_id]
    assert listed[0].created_at is not None
    await ended(subject.provider, claim)


async def test_creating_again_makes_no_second_machine(subject, make_claim):
    """However often and however simultaneously a claim is created, there is one machine; after a restart, too."""
    claim = make_claim()
    made = await asyncio.gather(*(subject.provider.create(claim) for _ in range(4)))
    again = await (await subject.restarted()).create(claim)
    assert {one.provider_id for one in (*made, again)} == {made[0].provider_id}
    assert len(await of(subject.provider, claim)) == 1
    await ended(subject.provider, claim)


async def test_an_ended_machine_is_not_found(subject, make_claim):
    """Delete starts the end and says not-found afterwards; get and list agree."""
    claim = make_claim()
    made = await subject.provider.create(claim)
    known = launched(claim, made)
    await subject.provider.delete(known)
    with pytest.raises(InstanceNotFound):
        await subject.provider.get(made.provider_id)
    await ended(subject.provider, known)
    assert await of(subject.provider, claim) == []
    with pytest.raises(InstanceNotFound):
        await subject.provider.delete(known)


async def test_a_machine_is_found_without_its_provider_id(subject, make_claim):
    """A claim that never learnt its provider ID is enough to end its machine."""
    claim = make_claim()
    await subject.provider.create(claim)
    await ended(subject.provider, claim)
    assert await of(subject.provider, claim) == []


async def test_a_machine_is_found_by_its_provider_id_alone(subject, make_claim):
    """When the claim is gone, the provider ID is enough."""
    claim = make_claim()
    made = await subject.provider.create(claim)
    nameless = evolve(claim, metadata=evolve(claim.metadata, uid=""))
    await ended(subject.provider, launched(nameless, made))
    assert await of(subject.provider, claim) == []


async def test_what_was_never_made_is_not_found(subject, make_claim):
    """Ending or asking for a machine that never was is an answer, not a failure."""
    with pytest.raises(InstanceNotFound):
        await subject.provider.delete(make_claim())
    with pytest.raises(InstanceNotFound):
        await subject.provider.get("elsewhere://nothing")


async def test_a_namesake_gets_a_machine_of_its_own(subject, make_claim):
    """A claim made again under the same name is another claim: another machine, and it cannot end the first."""
    first = make_claim()
    made = await subject.provider.create(first)
    second = make_claim(first.metadata.name)
    with pytest.raises(InstanceNotFound):
        await subject.provider.delete(second)
    assert (await subject.provider.get(made.provider_id)).claim_uid == first.metadata.uid
    await ended(subject.provider, launched(first, made))
    other = await subject.provider.create(second)
    assert other.provider_id != made.provider_id
    await ended(subject.provider, second)
