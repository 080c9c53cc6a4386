"""The cloud `local`: a NodeClaim makes a real node of processes on this machine, with GPUs that are emulated.

The truth is the cluster's state folder and the processes it names, so an operator that starts anew finds its machines,
and one that dies leaves them running. A machine whose first process died is gone, as a virtual machine that was
deleted behind the operator's back would be; what it left is cleared when its claim is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import field, frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.api.nodeclaim import Taint as ClaimTaint
from kaito_controller.api.reasons import Reason
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.loader import UnknownInstanceType
from kaito_controller.providers.errors import CreateError, InstanceNotFound, InsufficientCapacity, ProviderError
from kaito_controller.providers.local.cluster import LocalCluster
from kaito_controller.providers.local.host_network import NetworkProblem
from kaito_controller.providers.local.machine_spec import Taint
from kaito_controller.providers.local.machines import Machine, MachineLimit, MachineProblem, Machines
from kaito_controller.providers.local.programs import MissingProgram
from kaito_controller.providers.protocol import KAITO_NODE_CLASS, Instance, NodeClass
from kaito_controller.providers.registry import ProviderContext

UNREGISTERED = Taint(key=keys.TAINT_UNREGISTERED, effect="NoExecute")
"""Keeps every pod away until the NodeClaim controller has seen the node."""


@frozen(kw_only=True)
class LocalProvider:
    """Makes and removes the machines of one local cluster.

    `find_sku` is the catalogue's look-up of an instance type (raises `UnknownInstanceType`); `max_nodes` bounds how
    many machines there are for claims at a time.
    """

    machines: Machines
    find_sku: Callable[[str], SKU]
    max_nodes: int
    name: str = field(default="local", init=False)
    node_classes: tuple[NodeClass, ...] = field(default=(KAITO_NODE_CLASS,), init=False)

    async def create(self, claim: NodeClaim) -> Instance:
        """Start the claim's machine, or return the one it has; the node is named after the claim."""
        sku = self._sku(claim)
        labels = {
            **_plain_labels(claim),
            keys.INSTANCE_TYPE: sku.name,
            keys.EMULATED_GPU: "true",
        }
        taints = [Taint(key=t.key, effect=t.effect, value=t.value) for t in _taints(claim)]
        try:
            machine = await asyncio.to_thread(
                self.machines.start,
                claim.metadata.name,
                provider_id=self._provider_id(claim),
                claim_uid=claim.metadata.uid,
                labels=labels,
                taints=[UNREGISTERED, *taints],
                devices={sku.resource: sku.gpu_count} if sku.gpu_count else {},
                limit=self.max_nodes,
            )
        except MachineLimit as error:
            raise InsufficientCapacity(error.message, remedy=error.remedy) from error
        except MissingProgram as error:
            raise CreateError(Reason.MACHINE_UNSUITED.value, str(error)) from error
        except (MachineProblem, NetworkProblem, OSError) as error:
            raise CreateError(
                Reason.MACHINE_NOT_STARTED.value,
                str(error),
                remedy="See hack/cluster status; hack/cluster up repairs its network.",
            ) from error
        return _instance(machine)

    async def delete(self, claim: NodeClaim) -> None:
        """End the claim's machine and clear what it left. Raises `InstanceNotFound` when there is nothing of it."""
        machine = await asyncio.to_thread(self._find, lambda found: self._belongs(found, claim))
        if machine is None:
            raise InstanceNotFound(f"there is no machine for NodeClaim {claim.metadata.name}")
        try:
            await asyncio.to_thread(self.machines.stop, machine.spec.name)
        except (MachineProblem, NetworkProblem, OSError) as error:
            raise ProviderError(
                f"machine {machine.spec.name} was not removed: {error}", reason=Reason.MACHINE_STAYS.value
            ) from error

    async def get(self, provider_id: str) -> Instance:
        """Return one running machine. Raises `InstanceNotFound`."""
        machine = await asyncio.to_thread(self._find, lambda found: found.spec.provider_id == provider_id)
        if machine is None or not machine.is_running:
            raise InstanceNotFound(f"no machine {provider_id} runs here")
        return _instance(machine)

    async def list(self) -> Sequence[Instance]:
        """Return every running machine that a claim asked for; the cluster's base nodes are not among them."""
        machines = await asyncio.to_thread(self.machines.all)
        return [_instance(machine) for machine in machines if machine.spec.claim_uid and machine.is_running]

    async def close(self) -> None:
        """Nothing is held open: machines belong to nobody's process."""

    def _find(self, wanted: Callable[[Machine], bool]) -> Machine | None:
        return next((machine for machine in self.machines.all() if machine.spec.claim_uid and wanted(machine)), None)

    def _belongs(self, machine: Machine, claim: NodeClaim) -> bool:
        known = claim.status.provider_id or self._provider_id(claim)
        return machine.spec.claim_uid == claim.metadata.uid or machine.spec.provider_id == known

    def _provider_id(self, claim: NodeClaim) -> str:
        return f"local:///{self.machines.cluster.name}/{claim.metadata.uid}"

    def _sku(self, claim: NodeClaim) -> SKU:
        wanted = claim.spec.values_of(keys.INSTANCE_TYPE)
        if not wanted:
            raise CreateError(
                Reason.INSTANCE_TYPE_NOT_FOUND.value,
                f"NodeClaim {claim.metadata.name} names no instance type",
                remedy=f"Require {keys.INSTANCE_TYPE} In [a type of the catalogue] in spec.requirements.",
            )
        problem: UnknownInstanceType | None = None
        for name in wanted:
            try:
                return self.find_sku(name)
            except UnknownInstanceType as error:
                problem = problem or error
        raise CreateError(
            Reason.INSTANCE_TYPE_NOT_FOUND.value, str(problem), remedy="Use a type of the catalogue."
        ) from problem


def open_provider(context: ProviderContext) -> LocalProvider:
    """Open the provider for the cluster whose document the option `cluster` (`--local-cluster`) names.

    Raises ValueError when an option is missing or malformed.
    """
    path = context.options.get("cluster")
    if not path:
        raise ValueError(
            "--local-cluster: provider local needs the cluster.json of a cluster started with hack/cluster up; give "
            "its path"
        )
    cluster = LocalCluster.load(Path(path))
    return LocalProvider(
        machines=Machines(cluster=cluster),
        find_sku=context.catalog.sku,
        max_nodes=_max_nodes(context.options.get("max-nodes"), cluster.max_nodes),
    )


def _max_nodes(given: str | None, default: int) -> int:
    if not given:
        return default
    try:
        number = int(given)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(f"--local-max-nodes: must be a whole number of nodes, 0 or more; found {given!r}")
    return number


def _taints(claim: NodeClaim) -> Sequence[ClaimTaint]:
    return (*claim.spec.taints, *claim.spec.startup_taints)


def _plain_labels(claim: NodeClaim) -> Mapping[str, str]:
    """Labels that the claim's requirements leave one value for, and the claim's own above them."""
    fixed = {r.key: r.values[0] for r in claim.spec.requirements if r.operator == "In" and len(r.values) == 1}
    return {**fixed, **claim.metadata.labels}


def _instance(machine: Machine) -> Instance:
    spec = machine.spec
    devices = {resource: str(count) for resource, count in spec.devices.items()}
    return Instance(
        provider_id=spec.provider_id,
        name=spec.name,
        node_name=spec.name,
        claim_uid=spec.claim_uid,
        claim_name=spec.name,
        labels={key: spec.labels[key] for key in (keys.INSTANCE_TYPE, keys.EMULATED_GPU) if key in spec.labels},
        capacity=devices,
        allocatable=devices,
        created_at=datetime.strptime(spec.created_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
        deleting=spec.deleting,
    )
