"""The provider `local` makes real nodes for claims, keeps to its limit, and leaves nothing of them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NodeClaim, NodeClaimSpec, NodeClassReference, NodeRequirement, Taint
from kaito_controller.catalog import loader
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.providers.errors import InstanceNotFound, InsufficientCapacity
from kaito_controller.providers.local.machines import Machine, Machines
from kaito_controller.providers.local.processes import ProcessId
from kaito_controller.providers.local.provider import LocalProvider
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.real_cluster import RealCluster

EIGHT_GPUS = "Standard_ND96asr_A100_v4"


def claim(name: str) -> NodeClaim:
    return NodeClaim(
        metadata=ObjectMeta(name=name, uid=f"uid-of-{name}", labels={keys.WORKSPACE_NAME: "chat"}),
        spec=NodeClaimSpec(
            node_class_ref=NodeClassReference(group="kaito.sh", kind="KaitoNodeClass", name="default"),
            requirements=(NodeRequirement(key=keys.INSTANCE_TYPE, operator="In", values=(EIGHT_GPUS,)),),
            taints=(Taint(key="sku", value="gpu", effect="NoSchedule"),),
        ),
    )


@pytest.fixture
def provider(cluster: RealCluster) -> LocalProvider:
    return LocalProvider(machines=cluster.machines, find_sku=loader.load().sku, max_nodes=2)


@pytest.fixture
async def machine(cluster: RealCluster, provider: LocalProvider, request: pytest.FixtureRequest):
    """A machine for a claim named after the test's number in the run, gone at the end whatever the test did."""
    wanted = claim(f"ws{abs(hash(request.node.name)) % 10**9:09d}")
    await provider.create(wanted)
    found = cluster.machines.find(wanted.metadata.name)
    assert found is not None
    yield found
    cluster.machines.stop(found.spec.name)
    cluster.kubectl("delete", "node", found.spec.name, "--ignore-not-found")


def namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/pid").readlink())


def members(pid_namespace: str) -> list[int]:
    """Every process of a process namespace, as seen from outside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str((entry / "ns" / "pid").readlink()) == pid_namespace:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def traces(cluster: RealCluster, machine: Machine) -> dict[str, object]:
    """What there is of a machine on the host."""
    link = cluster.local.plan.node(machine.spec.number).host_link
    groups = Path("/sys/fs/cgroup").glob(f"*/kaito/{cluster.local.group}/{machine.spec.name}")
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(machine.folder) in line]
    return {
        "link": Path(f"/sys/class/net/{link}").exists(),
        "folder": machine.folder.exists(),
        "groups": bool(list(groups)),
        "mounts": mounts,
    }


NOTHING = {"link": False, "folder": False, "groups": False, "mounts": []}


async def test_a_claim_becomes_a_ready_node_with_emulated_gpus(cluster: RealCluster, machine: Machine):
    """The node carries the claim's labels and taints, waits for its controller, and offers the type's GPUs."""
    name = machine.spec.name
    cluster.wait_ready(name)
    eventually("the GPUs are offered", lambda: "nvidia.com/gpu" in cluster.get("node", name)["status"]["allocatable"])
    node = cluster.get("node", name)
    assert {"capacity": "8", "allocatable": "8"} == {
        part: node["status"][part]["nvidia.com/gpu"] for part in ("capacity", "allocatable")
    }
    assert machine.spec.provider_id == node["spec"]["providerID"]
    wanted = {keys.INSTANCE_TYPE: EIGHT_GPUS, keys.EMULATED_GPU: "true", keys.WORKSPACE_NAME: "chat"}
    assert wanted.items() <= node["metadata"]["labels"].items()
    taints = {(taint["key"], taint["effect"]) for taint in node["spec"]["taints"]}
    assert {("sku", "NoSchedule"), (keys.TAINT_UNREGISTERED, "NoExecute")} <= taints


async def test_the_event_loop_runs_while_a_machine_starts(provider: LocalProvider, cluster: RealCluster):
    """Nothing of starting and ending a machine is done on the event loop."""
    longest = 0.0
    wanted = claim("ws-loop")

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before)

    watcher = asyncio.create_task(watch())
    try:
        instances = await asyncio.gather(*(provider.create(wanted) for _ in range(3)))
        assert 1 == len(set(map(id, instances))) or 1 == len({instance.provider_id for instance in instances})
        assert [wanted.metadata.uid] == [instance.claim_uid for instance in await provider.list()]
        await provider.delete(wanted)
    finally:
        watcher.cancel()
        cluster.machines.stop("ws-loop")
    assert longest < 0.5


async def test_a_deleted_machine_leaves_nothing(cluster: RealCluster, provider: LocalProvider):
    """Processes, link, control groups, mounts and files of a machine go with it; deleting again says it is gone."""
    wanted = claim("ws-deleted")
    await provider.create(wanted)
    machine = cluster.machines.find("ws-deleted")
    assert machine is not None
    assert machine.process is not None
    inside = namespace(machine.process.pid)
    eventually("its programs run", lambda: len(members(inside)) >= 4)
    await provider.delete(wanted)
    assert NOTHING == traces(cluster, machine)
    assert [] == members(inside)
    with pytest.raises(InstanceNotFound):
        await provider.delete(wanted)
    cluster.kubectl("delete", "node", "ws-deleted", "--ignore-not-found")


async def test_a_killed_machine_is_gone_and_can_be_made_again(
    cluster: RealCluster, provider: LocalProvider, machine: Machine
):
    """SIGKILL to the one process ends every program in it; the claim's next create begins afresh in its place."""
    assert machine.process is not None
    inside = namespace(machine.process.pid)
    eventually("its programs run", lambda: len(members(inside)) >= 4)
    assert machine.process.end(signal.SIGKILL, timeout_s=10)
    eventually("every program ended", lambda: members(inside) == [], timeout_s=10)
    with pytest.raises(InstanceNotFound):
        await provider.get(machine.spec.provider_id)
    assert machine.spec.provider_id not in [instance.provider_id for instance in await provider.list()]
    again = await provider.create(claim(machine.spec.name))
    assert machine.spec.provider_id == again.provider_id
    found = cluster.machines.find(machine.spec.name)
    assert found is not None
    assert (machine.spec.number, True) == (found.spec.number, found.is_running)


async def test_a_program_that_ends_is_started_again(cluster: RealCluster, machine: Machine):
    """A kubelet that crashes comes back under the same node, and the emulated GPUs with it."""
    assert machine.process is not None
    cluster.wait_ready(machine.spec.name)
    inside = namespace(machine.process.pid)

    def kubelets() -> list[ProcessId]:
        found = [ProcessId.of(pid) for pid in members(inside) if Path(f"/proc/{pid}/comm").read_text() == "kubelet\n"]
        return [process for process in found if process]

    (first,) = kubelets()
    assert first.end(signal.SIGKILL, timeout_s=10)
    eventually("another kubelet runs", lambda: len(kubelets()) == 1 and kubelets() != [first], timeout_s=20)
    eventually(
        "the GPUs are offered",
        lambda: cluster.get("node", machine.spec.name)["status"]["allocatable"].get("nvidia.com/gpu") == "8",
        timeout_s=40,
    )


async def test_more_machines_than_allowed_are_refused(provider: LocalProvider, cluster: RealCluster, machine: Machine):
    """The limit counts what claims asked for, names it, and says how to make room; base nodes do not count."""
    only_one = LocalProvider(machines=provider.machines, find_sku=provider.find_sku, max_nodes=1)
    with pytest.raises(InsufficientCapacity) as refused:
        await only_one.create(claim("ws-too-many"))
    assert machine.spec.name in refused.value.message
    assert "--local-max-nodes" in refused.value.remedy
    assert cluster.machines.find("ws-too-many") is None


def test_a_machine_outlives_its_maker(cluster: RealCluster, tmp_path: Path):
    """An operator that is killed leaves its machines running, and the next one finds them."""
    code = (
        "import pathlib, signal, os, sys\n"
        "from kaito_controller.providers.local.cluster import LocalCluster\n"
        "from kaito_controller.providers.local.machines import Machines\n"
        "machines = Machines(cluster=LocalCluster.load(pathlib.Path(sys.argv[1])))\n"
        "machines.start('ws-orphan', provider_id='local:///orphan', claim_uid='orphan')\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    maker = subprocess.run([sys.executable, "-c", code, cluster.document], start_new_session=True)
    try:
        assert -signal.SIGKILL == maker.returncode
        found = Machines(cluster=cluster.local).find("ws-orphan")
        assert found is not None
        assert found.is_running
        cluster.wait_ready("ws-orphan")
    finally:
        cluster.machines.stop("ws-orphan")
        cluster.kubectl("delete", "node", "ws-orphan", "--ignore-not-found")
