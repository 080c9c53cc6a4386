"""What every plan holds, whatever it is for: hardware, runtime, revision, and the NodeClaims from them. Pure.

`serving` adds the workload that answers requests; `planning` decides what a Workspace gets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.hardware import SKU, Price
from kaito_controller.catalog.model import Preset, Runtime
from kaito_controller.controllers.workspace.revision import Revision
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.disk import disk_bytes
from kaito_controller.workloads import node_claim
from kaito_controller.workloads.weights import KAITO_FOLDER
from kaito_controller.workloads.weights_cache import WeightsCache


@frozen(kw_only=True)
class Settings:
    """What the operator was started with, as far as a plan depends on it.

    `alternatives` are runtimes for GPUs that the usual one holds no programs for, and with another engine; `prices` are
    by instance type, in lower case (see `lowest_prices`); `private_urls` are networks, as CIDRs, that pods may fetch
    from although they are private. `weights_cache` is where pods keep fetched files, `weights_folders` are the folders
    of nodes below which a Workspace may read, `hub` the address of a hub other than the usual one.
    """

    runtime: Runtime
    alternatives: tuple[Runtime, ...] = ()
    prices: Mapping[str, Price] = field(factory=dict)
    provisions: bool = True
    node_class_group: str = "kaito.sh"
    node_class_kind: str = "KaitoNodeClass"
    node_image_family: str = "ubuntu"
    private_urls: tuple[str, ...] = ()
    runtime_parameters: Mapping[str, str] = field(factory=dict)
    weights_cache: WeightsCache = field(factory=WeightsCache)
    weights_folders: tuple[str, ...] = (KAITO_FOLDER,)
    hub: str = ""


@frozen(kw_only=True)
class Ground:
    """What any workload of a Workspace stands on."""

    workspace: Workspace
    settings: Settings
    revision: Revision
    preset: Preset
    sku: SKU
    runtime: Runtime

    @property
    def provisions(self) -> bool:
        """Whether nodes are made for this Workspace; else it runs on existing ones."""
        return bool(self.workspace.resource.instance_type)

    @property
    def runtime_parameters(self) -> Mapping[str, str]:
        """Those that the operator was given, and the defaults of an alternative runtime for what they do not name."""
        usual, given = self.settings.runtime, self.settings.runtime_parameters
        if self.runtime is usual:
            return given
        own = {one.name: one.default for one in self.runtime.parameters if one.default is not None}
        if self.runtime.engine is usual.engine:
            # For other GPUs: what both call the same by default, such as the agent's image, is the same.
            alike = {(one.name, one.default) for one in usual.parameters} & own.items()
            return own | {name: given[name] for name, _ in alike if name in given}
        # The other program of the same image and the same folders.
        return own | {one.name: given[one.name] for one in self.runtime.parameters if one.name in given}

    @property
    def node_pins(self) -> Mapping[str, str] | None:
        """Labels on which pods insist beside the user's own: those of the nodes made for the Workspace."""
        return node_claim.node_labels(self.workspace) if self.provisions else None

    @property
    def price(self) -> Price | None:
        """What one node costs an hour, where that is known."""
        return self.settings.prices.get(self.sku.name.lower())

    def claim_name(self, index: int) -> str:
        """Return the name of the NodeClaim with this index."""
        return node_claim.claim_name(self.workspace, index)

    def claim(self, index: int) -> Object:
        """Return the NodeClaim with this index."""
        return node_claim.node_claim(
            self.workspace,
            index,
            sku=self.sku,
            node_class_group=self.settings.node_class_group,
            node_class_kind=self.settings.node_class_kind,
            storage_bytes=disk_bytes(self.preset),
            image_family=self.settings.node_image_family,
        )


@frozen(kw_only=True)
class Plan(Ground, ABC):
    """What should exist for a Workspace: decisions as fields, the objects that follow from them as methods.

    The objects carry the hash of themselves (see `drift`).
    """

    @property
    @abstractmethod
    def node_count(self) -> int:
        """How many nodes the workload runs on, which is also the number of pods."""

    @property
    @abstractmethod
    def resource(self) -> str:
        """The name under which nodes offer the GPUs."""

    @property
    @abstractmethod
    def gpus_per_node(self) -> int:
        """How many of them each pod holds."""

    @property
    def wants_nodes(self) -> bool:
        """Whether a node that is missing is worth making: not for work that is done."""
        return True

    @property
    @abstractmethod
    def arguments(self) -> tuple[str, ...]:
        """The arguments of the container that does the work."""

    @property
    @abstractmethod
    def figures(self) -> Mapping[str, Any]:
        """What was planned, by the names of `status.plan`."""
