"""The decision: from what is wanted and what exists to what should exist, or to why nothing can. Pure."""

from __future__ import annotations

from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.loader import Catalog, UnknownInstanceType
from kaito_controller.catalog.model import EngineName, Preset, Runtime
from kaito_controller.controllers.workspace import nodes, policies
from kaito_controller.controllers.workspace.model import preset_of
from kaito_controller.controllers.workspace.plan import Ground, Settings
from kaito_controller.controllers.workspace.revision import revision_of
from kaito_controller.controllers.workspace.serving import ServingPlan, plan_serving
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.tuning import TuningPlan, plan_tuning
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.sizing.runtime_choice import of_engine, runtime_for
from kaito_controller.workloads.weights import needs_hub


def plan_workspace(snapshot: Snapshot, catalog: Catalog, settings: Settings) -> ServingPlan | TuningPlan | Blocked:
    """Decide what should exist for a Workspace: everything else follows from this value."""
    workspace = policies.examine(snapshot, provisions=settings.provisions)
    if isinstance(workspace, Blocked):
        return workspace
    ground = _ground(workspace, snapshot, catalog, settings)
    if isinstance(ground, Blocked):
        return ground
    if workspace.tuning is not None:
        return plan_tuning(ground, workspace.tuning, snapshot)
    return plan_serving(ground, snapshot)


def _ground(workspace: Workspace, snapshot: Snapshot, catalog: Catalog, settings: Settings) -> Ground | Blocked:
    preset = preset_of(workspace, catalog, snapshot.model)
    if isinstance(preset, Blocked):
        return preset
    sku = _locked(workspace, preset) or _sku(workspace, snapshot, catalog)
    if isinstance(sku, Blocked):
        return sku
    runtimes = _runtimes(workspace, settings)
    if isinstance(runtimes, Blocked):
        return runtimes
    return Ground(
        workspace=workspace,
        settings=settings,
        revision=revision_of(snapshot.raw, snapshot.revisions),
        preset=preset,
        sku=sku,
        runtime=runtime_for(sku, runtimes),
    )


def _runtimes(workspace: Workspace, settings: Settings) -> tuple[Runtime, ...] | Blocked:
    """Return the runtimes that tune, or that serve with the engine a Workspace asks for (else the operator's own)."""
    found = (settings.runtime, *settings.alternatives)
    if workspace.tuning is not None:
        # The annotation chooses what serves; whichever it is, adapters are trained by the same program.
        return tuple(one for one in found if one.tuning is not None) or found
    asked = workspace.metadata.annotations.get(keys.RUNTIME)
    if asked is None:
        return of_engine(settings.runtime.engine, found)
    where = f"metadata.annotations[{keys.RUNTIME}]"
    names = sorted({runtime.engine.value for runtime in found})
    if asked in names:
        return of_engine(EngineName(asked), found)
    known = asked in set(EngineName)
    rule = f"must be one of {', '.join(names)}" + (
        f" with the operator's runtime {settings.runtime.name}" if known else ""
    )
    message = f"{where}: {rule}, found {asked[:80]!r}. Correct the annotation, or remove it."
    return Blocked(reason=Reason.RUNTIME_UNSUPPORTED, message=message)


def _locked(workspace: Workspace, preset: Preset) -> Blocked | None:
    """Return why the model's files cannot be had: its hub asks for a token, and no Secret is named."""
    if not preset.gated or workspace.access_secret or not needs_hub(workspace, preset):
        return None
    return Blocked(
        reason=Reason.INVALID_SPEC,
        message=(
            f"{workspace.purpose}.preset.presetOptions.modelAccessSecret: required, because the hub gives "
            f"{preset.model_id} only to those who have accepted its licence, found none. Name a Secret of this "
            "namespace with the token under HF_TOKEN."
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
