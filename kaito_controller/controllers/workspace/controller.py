"""The Workspace controller: what wakes it, what it may do, and the table of contents of one reconcile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

import structlog
from attrs import evolve

from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.catalog.loader import Catalog
from kaito_controller.controllers.workspace import events, status
from kaito_controller.controllers.workspace.model import ModelLookup, Models, goes_on, key_of
from kaito_controller.controllers.workspace.plan import Plan, Settings
from kaito_controller.controllers.workspace.planning import plan_workspace
from kaito_controller.controllers.workspace.reports import NO_REPORTS, Reports, following
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.steps.adapters import AdaptersStep
from kaito_controller.controllers.workspace.steps.inference import InferenceStep
from kaito_controller.controllers.workspace.steps.node_claims import NodeClaimsStep
from kaito_controller.controllers.workspace.steps.revision import RevisionStep
from kaito_controller.controllers.workspace.steps.service import ServiceStep
from kaito_controller.controllers.workspace.steps.tuning import TuningStep
from kaito_controller.controllers.workspace.termination import Termination
from kaito_controller.controllers.workspace.tuning import TuningPlan
from kaito_controller.controllers.workspace.verdict import Blocked, Notice, Outcome, StepResult
from kaito_controller.controllers.workspace.views import Views
from kaito_controller.controllers.workspace.writer import Writer
from kaito_controller.kube import metadata
from kaito_controller.kube.core import CONFIG_MAPS, CONTROLLER_REVISIONS, JOBS, NODES, PODS, SERVICES, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.rbac import READ, Rule
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiError, is_not_found
from kaito_controller.machinery.events.recorder import EventRecorder, EventType
from kaito_controller.machinery.reconcile.request import Request, Result

STALE_RETRY_S: Final = 0.1
MISSING_CONFIG_RETRY_S: Final = 1.0
WRONG_CONFIG_RETRY_S: Final = 2.0
CONFIG_CHECK_S: Final = 60.0

RULES: Final = (
    Rule(resource=WORKSPACES, verbs=(*READ, "patch"), why="finalizer and revision marks"),
    Rule(resource=WORKSPACES, subresource="status", verbs=("patch",)),
    Rule(resource=WORKSPACES, subresource="finalizers", verbs=("update",), why="to own children that block deletion"),
    Rule(resource=NODE_CLAIMS, verbs=(*READ, "create", "patch", "delete")),
    Rule(resource=CONTROLLER_REVISIONS, verbs=(*READ, "create", "patch", "delete")),
    Rule(resource=SERVICES, verbs=(*READ, "create", "patch", "delete")),
    Rule(resource=STATEFUL_SETS, verbs=(*READ, "create", "patch", "delete")),
    Rule(resource=JOBS, verbs=(*READ, "create", "patch", "delete")),
    Rule(resource=NODES, verbs=READ),
    Rule(resource=PODS, verbs=READ),
    Rule(resource=PODS, verbs=("patch",), why="to tell a kubelet at once that the list of adapters has changed"),
    Rule(
        resource=PODS,
        subresource="proxy",
        verbs=("get",),
        why="what agents report of adapters and tunings of their progress",
    ),
    Rule(
        resource=CONFIG_MAPS,
        verbs=(*READ, "create", "patch", "delete"),
        why="the list of wanted adapters, watched by its label; those of inference.config and tuning.config are read",
    ),
)

log = structlog.get_logger("controllers.workspace")


_P = TypeVar("_P", bound=Plan)
_P_contra = TypeVar("_P_contra", bound=Plan, contravariant=True)


class Step(Protocol[_P_contra]):
    """One thing to do about a plan of a kind."""

    @property
    def name(self) -> str:
        """Under which the outcome is filed."""
        ...

    async def run(self, plan: _P_contra, snapshot: Snapshot) -> StepResult:
        """Do it where it is not done yet."""
        ...


class WorkspaceController:
    """Brings the world to what one Workspace asks for, and tells its user how far it is."""

    def __init__(
        self,
        *,
        client: Client,
        cache: Cache,
        recorder: EventRecorder,
        clock: Clock,
        catalog: Catalog,
        settings: Settings,
        models: Models | None = None,
        reports: Reports = NO_REPORTS,
    ) -> None:
        self.views = Views(cache, provisions=settings.provisions)
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._catalog = catalog
        self._settings = settings
        self._models = models
        self._reports = reports
        self._writer = Writer(client, cache)
        self._termination = Termination(self._writer, client, clock)
        self._node_claims = NodeClaimsStep(self._writer, cache, clock)
        self._serving: Sequence[Step[ServingPlan]] = (
            RevisionStep(self._writer),
            self._node_claims,
            ServiceStep(self._writer),
            AdaptersStep(self._writer, client),
            InferenceStep(self._writer),
        )
        self._tuning: Sequence[Step[TuningPlan]] = (
            RevisionStep(self._writer),
            self._node_claims,
            TuningStep(self._writer),
        )

    async def reconcile(self, request: Request) -> Result:
        """Drive one Workspace one step closer to what its spec asks for."""
        if self.views.is_stale(request):
            return Result.requeue(STALE_RETRY_S, "the cache does not show our own write yet")
        snapshot = self.views.gather(request)
        if snapshot is None:
            self._node_claims.forget(request.key)
            self._reports.forget(request)
            return Result.done()
        if metadata.is_deleting(snapshot.raw):
            self._reports.forget(request)
            return await self._terminate(snapshot)
        snapshot = evolve(
            snapshot,
            config=await self._config(snapshot),
            model=self._model(snapshot, request),
            reports=self._reports.latest(request),
        )
        if snapshot.workspace is not None and goes_on(snapshot.workspace, snapshot.model):
            log.info("left as it is until its model can be read", found=str(snapshot.model))
            return Result.done()
        plan = plan_workspace(snapshot, self._catalog, self._settings)
        self._reports.follow(request, *following(plan, snapshot))
        outcome = await self._run(plan, snapshot)
        after = status.project(snapshot, plan, outcome, now=self._clock.now())
        await self._write_status(snapshot, after, (*outcome.notices, *events.failures_in(outcome)))
        return outcome.result()

    async def _run(self, plan: ServingPlan | TuningPlan | Blocked, snapshot: Snapshot) -> Outcome:
        results: dict[str, StepResult] = {"config": look_at_config_again(snapshot, plan)}
        if isinstance(plan, ServingPlan):
            results |= await _carried_out(self._serving, plan, snapshot)
        if isinstance(plan, TuningPlan):
            results |= await _carried_out(self._tuning, plan, snapshot)
        return Outcome(steps=results)

    async def _terminate(self, snapshot: Snapshot) -> Result:
        after = status.project_deletion(snapshot.raw, now=self._clock.now())
        await self._write_status(snapshot, after, ())
        done = await self._termination.run(snapshot)
        self._tell(snapshot.raw, done.notices)
        return Outcome(steps={"termination": done}).result()

    async def _write_status(self, snapshot: Snapshot, after: Object, notices: Iterable[Notice]) -> None:
        """Write what changed, if anything did, and tell of it."""
        before = snapshot.raw.get("status") or {}
        patch = status.changed(before, after)
        if patch:
            try:
                await self._writer.patch(snapshot.raw, {"status": patch}, subresource="status")
            except ApiError as error:
                if not is_not_found(error):
                    raise
        self._tell(snapshot.raw, (*notices, *events.told_by(snapshot.raw, {**snapshot.raw, "status": after})))

    def _tell(self, raw: Object, notices: Iterable[Notice]) -> None:
        for notice in notices:
            kind: EventType = "Warning" if notice.warning else "Normal"
            self._recorder.event(raw, kind, notice.reason, notice.note, action=notice.action or "Reconcile")
            log.info("told", reason=str(notice.reason), note=notice.note)

    def _model(self, snapshot: Snapshot, request: Request) -> ModelLookup | None:
        """What is known of a model that is not in the catalogue. It is read beside the reconcile, which is woken."""
        if snapshot.workspace is None or self._models is None:
            return None
        key = key_of(snapshot.workspace, self._catalog)
        return self._models.lookup(key, request) if key is not None else None

    async def _config(self, snapshot: Snapshot) -> Object | None:
        """Read the ConfigMap of the options: by name, because watching every ConfigMap would hold them all."""
        name = _config_name(snapshot)
        if not name:
            return None
        return await self._client.find(CONFIG_MAPS, name, metadata.namespace(snapshot.raw))


async def _carried_out(steps: Sequence[Step[_P]], plan: _P, snapshot: Snapshot) -> dict[str, StepResult]:
    """Run the steps in order; one that others need ends the run when it fails, and why is read before a retry."""
    results: dict[str, StepResult] = {}
    for step in steps:
        try:
            results[step.name] = await step.run(plan, snapshot)
        except ApiError as error:
            results[step.name] = StepResult(error=error)
        if results[step.name].error is not None and not results[step.name].goes_on:
            break
    return results


def _config_name(snapshot: Snapshot) -> str:
    return snapshot.workspace.config if snapshot.workspace is not None else ""


def look_at_config_again(snapshot: Snapshot, plan: Plan | Blocked) -> StepResult:
    """A ConfigMap is read, not watched: soon when somebody has to make or correct it, else now and then."""
    if not _config_name(snapshot):
        return StepResult()
    if status.has_ended_well(snapshot):
        # Nothing waits for it: its user has tidied up.
        return StepResult(requeue_after_s=CONFIG_CHECK_S, why="the ConfigMap of a tuning that has ended may change")
    where = f"the ConfigMap {_config_name(snapshot)}"
    if snapshot.config is None:
        return StepResult(requeue_after_s=MISSING_CONFIG_RETRY_S, why=f"{where} is missing")
    if isinstance(plan, Blocked) and plan.reason is Reason.CONFIG_INVALID:
        return StepResult(requeue_after_s=WRONG_CONFIG_RETRY_S, why=f"{where} is wrong")
    return StepResult(requeue_after_s=CONFIG_CHECK_S, why=f"{where} may change")
