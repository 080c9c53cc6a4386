"""The plan of a Workspace that tunes: a Job, sized for training. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from attrs import frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.api.weights_uri import WeightsUri
from kaito_controller.api.workspace import TuningSpec
from kaito_controller.catalog.model import RuntimeContainer
from kaito_controller.controllers.workspace import weights_sources
from kaito_controller.controllers.workspace.data_urls import private_host
from kaito_controller.controllers.workspace.misfits import blocked
from kaito_controller.controllers.workspace.plan import Ground, Plan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.tuning_config import TuningConfig, read_tuning_config
from kaito_controller.controllers.workspace.tuning_state import State, TuningState, state_of
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube import metadata, serde
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.ownership import is_controlled_by
from kaito_controller.sizing import report
from kaito_controller.sizing.misfit import DoesNotFit
from kaito_controller.sizing.tuning import TuningSize
from kaito_controller.sizing.tuning import plan_tuning as plan_size
from kaito_controller.workloads import tuning
from kaito_controller.workloads.weights import asked_uri


@frozen(kw_only=True)
class TuningPlan(Plan):
    """How a model is tuned, always on one node.

    `run` tells this run from others, `made` is the Job of it, if there is one, and `state` where it stands.
    """

    spec: TuningSpec
    container: RuntimeContainer
    size: TuningSize
    config: TuningConfig
    run: str
    state: TuningState
    made: Object | None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended well, so that nothing is left to do."""
        return self.state.state is State.SUCCEEDED

    @property
    def wants_nodes(self) -> bool:
        """Not for a run that has ended: a machine that went away would only cost."""
        return self.state.state not in {State.SUCCEEDED, State.FAILED}

    @property
    def node_count(self) -> int:
        """One: every GPU holds a whole copy of the model, and they meet within a machine."""
        return 1

    @property
    def resource(self) -> str:
        """As the runtime or the part of a GPU says."""
        return self.size.resource

    @property
    def gpus_per_node(self) -> int:
        """All that the node has."""
        return self.size.gpus

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Those of the container that trains."""
        (container,) = self.job["spec"]["template"]["spec"]["containers"]
        return tuple(container["args"])

    @property
    def figures(self) -> Mapping[str, Any]:
        """As `kubectl kaito plan` names them."""
        return report.tuning_values(self.size)

    @cached_property
    def job(self) -> Object:
        """Return the workload, which says which run it is."""
        return tuning.job(
            tuning.TuningPod(
                workspace=self.workspace,
                spec=self.spec,
                preset=self.preset,
                size=self.size,
                runtime=self.runtime,
                container=self.container,
                parameters=self.runtime_parameters,
                private_urls=self.settings.private_urls,
                hub=self.settings.hub,
                node_pins=self.node_pins,
            ),
            annotations={keys.WORKSPACE_REVISION: str(self.revision.number), keys.TUNING_RUN: self.run},
        )

    def is_of_this_run(self, job: Object) -> bool:
        """Whether a Job was made for what is wanted now."""
        return _run_of(job) == self.run


def plan_tuning(ground: Ground, spec: TuningSpec, snapshot: Snapshot) -> TuningPlan | Blocked:
    """Decide how a model is tuned."""
    config = read_tuning_config(ground.workspace, snapshot.config)
    if isinstance(config, Blocked):
        return config
    unsafe = _private_url(spec, ground.settings.private_urls)
    if unsafe is not None:
        return unsafe
    unreachable = weights_sources.objection_to_base(ground)
    if unreachable is not None:
        return unreachable
    container = ground.runtime.tuning
    if container is None:
        message = f"runtime {ground.runtime.name} has no container that tunes: run the operator with one that has."
        return Blocked(reason=Reason.RUNTIME_UNSUPPORTED, message=message)
    size = plan_size(ground.preset, ground.sku, runtime=ground.runtime, options=config.options)
    if isinstance(size, DoesNotFit):
        return blocked(size)
    run = run_of(spec, config, asked_uri(ground.workspace))
    made = snapshot.job if snapshot.job is not None and _stands(snapshot.job, snapshot, run) else None
    return TuningPlan(
        workspace=ground.workspace,
        settings=ground.settings,
        revision=ground.revision,
        preset=ground.preset,
        sku=ground.sku,
        runtime=ground.runtime,
        spec=spec,
        container=container,
        size=size,
        config=config,
        run=run,
        state=state_of(snapshot, run, made),
        made=made,
    )


def run_of(spec: TuningSpec, config: TuningConfig, base: WeightsUri | None) -> str:
    """What tells one run from another: the tuning that is asked for, its configuration, and where its model is from.

    Nothing else: a run of hours, or one that has ended, is not thrown away because the operator was upgraded.
    """
    parts = [serde.unstructure(spec), config.digest, *([str(base)] if base is not None else [])]
    asked = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def _private_url(spec: TuningSpec, allowed: Sequence[str]) -> Blocked | None:
    for index, url in enumerate(spec.input.urls):
        host = private_host(url, allowed)
        if host:
            message = (
                f"tuning.input.urls[{index}]: must not lead into a private network, found {host}. Put the data where "
                "the internet reaches it, use an image or a volume, or have the operator started with "
                "--allow-private-urls for that network."
            )
            return Blocked(reason=Reason.INVALID_SPEC, message=message)
    return None


def _run_of(job: Object) -> str:
    return metadata.annotations(job).get(keys.TUNING_RUN, "")


def _stands(job: Object, snapshot: Snapshot, run: str) -> bool:
    """Whether a Job is ours, stays, and is of this run."""
    return is_controlled_by(job, snapshot.raw) and not metadata.is_deleting(job) and _run_of(job) == run
