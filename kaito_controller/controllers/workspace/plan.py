"""The decision: from what is wanted and what exists to what should exist, or to why nothing can. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Final

from attrs import evolve, field, frozen

from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.hardware import SKU, Price
from kaito_controller.catalog.loader import Catalog, UnknownInstanceType
from kaito_controller.catalog.model import Preset, Runtime
from kaito_controller.controllers.workspace import nodes, policies
from kaito_controller.controllers.workspace.drift import stamped
from kaito_controller.controllers.workspace.inference_config import InferenceConfig, read_config
from kaito_controller.controllers.workspace.model import preset_of
from kaito_controller.controllers.workspace.revision import Revision, revision_of
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.disk import disk_bytes
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, Misfit, plan_inference
from kaito_controller.sizing.runtime_choice import runtime_for
from kaito_controller.workloads import inference, node_claim, service

CONFIG_HASH_ANNOTATION: Final = "workspace.kaito.io/config-hash"

_MISFITS: Final[Mapping[Misfit, Reason]] = {
    Misfit.GPU_MEMORY: Reason.MODEL_DOES_NOT_FIT,
    Misfit.CONTEXT: Reason.CONFIG_INVALID,
    Misfit.ACCELERATOR: Reason.RUNTIME_UNSUPPORTED,
    Misfit.NODE_COUNT: Reason.INVALID_SPEC,
    Misfit.WEIGHTS: Reason.RUNTIME_UNSUPPORTED,
    Misfit.PRECISION: Reason.RUNTIME_UNSUPPORTED,
    Misfit.PARALLELISM: Reason.CONFIG_INVALID,
    Misfit.NUMBERS: Reason.MODEL_DOES_NOT_FIT,
    Misfit.UNAVAILABLE: Reason.MODEL_DOES_NOT_FIT,
}


@frozen(kw_only=True)
class Settings:
    """What the operator was started with, as far as a plan depends on it.

    `alternatives` are runtimes for GPUs that the usual one holds no programs for; `prices` are by instance type, in
    lower case (see `lowest_prices`).
    """

    runtime: Runtime
    alternatives: tuple[Runtime, ...] = ()
    prices: Mapping[str, Price] = field(factory=dict)
    provisions: bool = True
    node_class_group: str = "kaito.sh"
    node_class_kind: str = "KaitoNodeClass"
    node_image_family: str = "ubuntu"
    runtime_parameters: Mapping[str, str] = field(factory=dict)


@frozen(kw_only=True)
class Plan:
    """What should exist for a Workspace: decisions as fields, the objects that follow from them as methods.

    The objects carry the hash of themselves (see `drift`).
    """

    workspace: Workspace
    settings: Settings
    revision: Revision
    preset: Preset
    sku: SKU
    runtime: Runtime
    inference: InferencePlan
    config: InferenceConfig

    @property
    def provisions(self) -> bool:
        """Whether nodes are made for this Workspace; else it runs on existing ones."""
        return bool(self.workspace.resource.instance_type)

    @property
    def node_count(self) -> int:
        """How many nodes the model runs on, which is also the number of pods."""
        return self.inference.node_count

    @property
    def runtime_parameters(self) -> Mapping[str, str]:
        """Those that the operator was given, and the defaults of an alternative runtime for what they do not name."""
        if self.runtime is self.settings.runtime:
            return self.settings.runtime_parameters
        return {one.name: one.default for one in self.runtime.parameters if one.default is not None}

    @property
    def price(self) -> Price | None:
        """What one node costs an hour, where that is known."""
        return self.settings.prices.get(self.sku.name.lower())

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The engine's arguments, as the pods have them."""
        (container,) = self.stateful_set["spec"]["template"]["spec"]["containers"]
        return tuple(container["args"])

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

    @cached_property
    def services(self) -> tuple[Object, ...]:
        """Return the Service for users and the one for the pods."""
        return tuple(
            stamped(made) for made in (service.service(self.workspace), service.headless_service(self.workspace))
        )

    @cached_property
    def stateful_set(self) -> Object:
        """Return the workload. Its pods restart when the user's configuration changes, because it is read at start."""
        made = inference.stateful_set(
            self.workspace,
            self.preset,
            self.inference,
            self.runtime,
            parameters=self.runtime_parameters,
            node_pins=node_claim.node_labels(self.workspace) if self.provisions else None,
            revision=str(self.revision.number),
        )
        if self.config.digest:
            template = made["spec"]["template"]["metadata"]
            template["annotations"] = {**template.get("annotations", {}), CONFIG_HASH_ANNOTATION: self.config.digest}
        return stamped(made)


def plan_workspace(snapshot: Snapshot, catalog: Catalog, settings: Settings) -> Plan | Blocked:
    """Decide what should exist for a Workspace: everything else follows from this value."""
    workspace = policies.examine(snapshot, provisions=settings.provisions)
    if isinstance(workspace, Blocked):
        return workspace
    preset = _preset(workspace, catalog, snapshot)
    if isinstance(preset, Blocked):
        return preset
    sku = _locked(workspace, preset) or _sku(workspace, snapshot, catalog)
    if isinstance(sku, Blocked):
        return sku
    config = read_config(workspace, snapshot.config)
    if isinstance(config, Blocked):
        return config
    runtime = runtime_for(sku, (settings.runtime, *settings.alternatives))
    sized = _sized(workspace, preset, sku, config, runtime)
    if isinstance(sized, Blocked):
        return sized
    return Plan(
        workspace=workspace,
        settings=settings,
        revision=revision_of(snapshot.raw, snapshot.revisions),
        preset=preset,
        sku=sku,
        runtime=runtime,
        inference=sized,
        config=config,
    )


def _preset(workspace: Workspace, catalog: Catalog, snapshot: Snapshot) -> Preset | Blocked:
    wanted = workspace.inference.preset if workspace.inference is not None else None
    return preset_of(wanted.name if wanted is not None else "", catalog, snapshot.model)


def _locked(workspace: Workspace, preset: Preset) -> Blocked | None:
    """Return why the model's files cannot be had: its hub asks for a token, and no Secret is named."""
    wanted = workspace.inference.preset if workspace.inference is not None else None
    if not preset.gated or (wanted is not None and wanted.preset_options.model_access_secret):
        return None
    return Blocked(
        reason=Reason.INVALID_SPEC,
        message=(
            f"inference.preset.presetOptions.modelAccessSecret: required, because the hub gives {preset.model_id} only "
            "to those who have accepted its licence, found none. Name a Secret of this namespace with the token under "
            "HF_TOKEN."
        ),
    )


def _sku(workspace: Workspace, snapshot: Snapshot, catalog: Catalog) -> SKU | Blocked:
    """Return the hardware: of the instance type, or of the existing nodes that match."""
    wanted = workspace.resource.instance_type
    if wanted:
        try:
            return catalog.sku(wanted)
        except UnknownInstanceType as error:
            return Blocked(
                reason=Reason.UNKNOWN_INSTANCE_TYPE,
                message=(
                    f"resource.instanceType: {error}. Use one that kubectl kaito skus lists, or leave it out and label "
                    "existing nodes."
                ),
            )
    if not snapshot.nodes:
        return Blocked(
            reason=Reason.NODE_NOT_READY,
            message=(
                f"resource.labelSelector: no node matches {workspace.resource.label_selector}. Label the nodes that "
                "this Workspace may use, or name an instance type to have nodes made."
            ),
            waits=True,
        )
    return nodes.sku_of(snapshot.nodes, catalog)


def _sized(
    workspace: Workspace, preset: Preset, sku: SKU, config: InferenceConfig, runtime: Runtime
) -> InferencePlan | Blocked:
    flags = config.flags
    if workspace.inference is not None and workspace.inference.adapters:
        flags = evolve(flags, enable_lora=True)
    sized = _planned(
        _Question(preset=preset, runtime=runtime, sku=sku, node_count=workspace.resource.count, flags=flags)
    )
    if not isinstance(sized, DoesNotFit):
        return sized
    reason = Reason.COUNT_TOO_SMALL if sized.enough_nodes else _MISFITS[sized.reason]
    return Blocked(reason=reason, message=sized.message)


@frozen(kw_only=True)
class _Question:
    """What a plan depends on. Presets and runtimes are compared as objects: there is one of each, and it is large."""

    preset: Preset = field(eq=id)
    runtime: Runtime = field(eq=id)
    sku: SKU
    node_count: int | None
    flags: EngineFlags


@lru_cache(maxsize=256)
def _planned(question: _Question) -> InferencePlan | DoesNotFit:
    """Many Workspaces ask the same, and each asks again at every reconcile."""
    return plan_inference(
        question.preset,
        question.sku,
        runtime=question.runtime,
        node_count=question.node_count,
        flags=question.flags,
    )
