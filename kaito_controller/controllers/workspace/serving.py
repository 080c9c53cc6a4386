"""The plan of a Workspace that serves: Services and a StatefulSet, sized for inference. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Final

from attrs import evolve, field, frozen

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import Preset, Runtime
from kaito_controller.controllers.workspace.drift import stamped
from kaito_controller.controllers.workspace.inference_config import InferenceConfig, read_config
from kaito_controller.controllers.workspace.misfits import blocked
from kaito_controller.controllers.workspace.plan import Ground, Plan
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing import report
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, plan_inference
from kaito_controller.workloads import inference, service

CONFIG_HASH_ANNOTATION: Final = "workspace.kaito.io/config-hash"


@frozen(kw_only=True)
class ServingPlan(Plan):
    """How a model is served."""

    inference: InferencePlan
    config: InferenceConfig

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
        (container,) = self.stateful_set["spec"]["template"]["spec"]["containers"]
        return tuple(container["args"])

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
        )
        if self.config.digest:
            template = made["spec"]["template"]["metadata"]
            template["annotations"] = {**template.get("annotations", {}), CONFIG_HASH_ANNOTATION: self.config.digest}
        return stamped(made)


def plan_serving(ground: Ground, config_map: Object | None) -> ServingPlan | Blocked:
    """Decide how a model is served; the ConfigMap is that of ``inference.config``."""
    config = read_config(ground.workspace, config_map)
    if isinstance(config, Blocked):
        return config
    sized = _sized(ground, config)
    if isinstance(sized, Blocked):
        return sized
    return ServingPlan(
        workspace=ground.workspace,
        settings=ground.settings,
        revision=ground.revision,
        preset=ground.preset,
        sku=ground.sku,
        runtime=ground.runtime,
        inference=sized,
        config=config,
    )


def _sized(ground: Ground, config: InferenceConfig) -> InferencePlan | Blocked:
    workspace, flags = ground.workspace, config.flags
    if workspace.inference is not None and workspace.inference.adapters:
        flags = evolve(flags, enable_lora=True)
    question = _Question(
        preset=ground.preset,
        runtime=ground.runtime,
        sku=ground.sku,
        node_count=workspace.resource.count,
        flags=flags,
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
