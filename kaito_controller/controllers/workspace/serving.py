"""The plan of a Workspace that serves: Services and a StatefulSet, sized for inference. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Final

from attrs import evolve, field, frozen

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import Preset, Runtime
from kaito_controller.controllers.workspace import adapter_room, weights_sources
from kaito_controller.controllers.workspace.drift import stamped
from kaito_controller.controllers.workspace.inference_config import InferenceConfig, read_config
from kaito_controller.controllers.workspace.misfits import blocked
from kaito_controller.controllers.workspace.plan import Ground, Plan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing import report
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, plan_inference
from kaito_controller.workloads import adapters, inference, service
from kaito_controller.workloads.adapters import AdapterRoom
from kaito_controller.workloads.inference import PodOptions
from kaito_controller.workloads.weights_cache import CacheKind, WeightsCache

CONFIG_HASH_ANNOTATION: Final = "workspace.kaito.io/config-hash"


@frozen(kw_only=True)
class ServingPlan(Plan):
    """How a model is served.

    `room` is what pods have room for of adapters, None when they have none; `room_note` says why that is less than the
    adapters need.
    """

    inference: InferencePlan
    config: InferenceConfig
    room: AdapterRoom | None = None
    room_note: str = ""

    @property
    def node_count(self) -> int:
        """As many as the model needs, each holding its part."""
        return self.inference.node_count

    @property
    def resource(self) -> str:
        """As the runtime or the part of a GPU says."""
        return self.inference.resource

    @property
    def gpus_per_node(self) -> int:
        """As many as the model is cut for."""
        return self.inference.gpus_per_node

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The engine's, as the pods have them."""
        engine, *_ = self.stateful_set["spec"]["template"]["spec"]["containers"]
        return tuple(engine["args"])

    @property
    def figures(self) -> Mapping[str, Any]:
        """As `kubectl kaito plan` names them."""
        return report.plan_values(self.inference)

    @cached_property
    def services(self) -> tuple[Object, ...]:
        """Return the Service for users and the one for the pods."""
        return tuple(
            stamped(made) for made in (service.service(self.workspace), service.headless_service(self.workspace))
        )

    @property
    def _pod_options(self) -> PodOptions:
        cache = self.settings.weights_cache
        if cache.kind is CacheKind.STORAGE_CLASS and not self.sku.nvme:
            # The class hands out the nodes' own disks, which this type does not have.
            cache = WeightsCache()
        return PodOptions(weights_cache=cache, hub=self.settings.hub, trusts_code=self.config.trusts_code)

    @cached_property
    def stateful_set(self) -> Object:
        """Return the workload. Its pods restart when the user's configuration changes, because it is read at start."""
        made = inference.stateful_set(
            self.workspace,
            self.preset,
            self.inference,
            self.runtime,
            parameters=self.runtime_parameters,
            node_pins=self.node_pins,
            revision=str(self.revision.number),
            room=self.room,
            options=self._pod_options,
        )
        if self.config.digest:
            template = made["spec"]["template"]["metadata"]
            template["annotations"] = {**template.get("annotations", {}), CONFIG_HASH_ANNOTATION: self.config.digest}
        return stamped(adapter_room.marked(made, self.room) if self.room is not None else made)

    @cached_property
    def wanted_adapters(self) -> Object | None:
        """Return the ConfigMap that tells the agent of adapters; None when there is no agent."""
        return stamped(adapters.wanted_map(self.workspace)) if self.room is not None else None


def plan_serving(ground: Ground, snapshot: Snapshot) -> ServingPlan | Blocked:
    """Decide how a model is served, keeping pods that run wherever they will do."""
    config = read_config(ground.workspace, snapshot.config)
    if isinstance(config, Blocked):
        return config
    if not ground.runtime.loads_adapters:
        note = f"the runtime {ground.runtime.name} loads no adapters"
        return _plan(ground, config, None, note if adapters.specs(ground.workspace) else "")
    wanted = adapter_room.wanted_room(ground.workspace, config, snapshot)
    kept = adapter_room.kept_room(wanted, config, snapshot.stateful_set)
    if kept is not None:
        plan = _plan(ground, config, kept)
        if isinstance(plan, ServingPlan) and not adapter_room.restarts_pods(plan.stateful_set, snapshot.stateful_set):
            return plan
    return _with_what_fits(ground, config, wanted)


def _with_what_fits(ground: Ground, config: InferenceConfig, wanted: AdapterRoom | None) -> ServingPlan | Blocked:
    """Adapters may not keep a model from being served: what does not fit beside it is left out and told."""
    plan = _plan(ground, config, wanted)
    if wanted is None:
        return plan
    lowest = adapters.RANKS[0]
    if wanted.max_rank > lowest and adapter_room.user_rank(config) is None:
        lower = _plan(ground, config, evolve(wanted, max_rank=lowest))
        why = _why_not_higher(plan, lower)
        if why and isinstance(lower, ServingPlan):
            note = f"room for ranks up to {wanted.max_rank} does not fit beside the model: {why}"
            return evolve(lower, room_note=note)
    if isinstance(plan, ServingPlan):
        return plan
    return _plan(ground, config, None, f"adapters do not fit beside the model: {plan.message}")


def _why_not_higher(higher: ServingPlan | Blocked, lower: ServingPlan | Blocked) -> str:
    """A rank that comes to light while a model is served buys nobody another machine."""
    if isinstance(higher, Blocked):
        return higher.message
    if isinstance(lower, ServingPlan) and higher.node_count > lower.node_count:
        return f"it takes {higher.node_count} nodes instead of {lower.node_count}; set max-lora-rank to have that"
    return ""


def _plan(
    ground: Ground, config: InferenceConfig, room: AdapterRoom | None, room_note: str = ""
) -> ServingPlan | Blocked:
    sized = _sized(ground, config, room)
    if isinstance(sized, Blocked):
        return sized
    unreachable = weights_sources.objection(ground)
    if unreachable is not None:
        return unreachable
    return ServingPlan(
        workspace=ground.workspace,
        settings=ground.settings,
        revision=ground.revision,
        preset=ground.preset,
        sku=ground.sku,
        runtime=ground.runtime,
        inference=sized,
        config=config,
        room=room,
        room_note=room_note,
    )


def _sized(ground: Ground, config: InferenceConfig, room: AdapterRoom | None) -> InferencePlan | Blocked:
    question = _Question(
        preset=ground.preset,
        runtime=ground.runtime,
        sku=ground.sku,
        node_count=ground.workspace.resource.count,
        flags=adapter_room.with_room(config.flags, room),
    )
    sized = _planned(question)
    return blocked(sized) if isinstance(sized, DoesNotFit) else sized


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
