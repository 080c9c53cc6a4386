"""A catalogue, settings and a way to plan, for the pure half of the controller."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog import loader
from kaito_controller.controllers.workspace import status
from kaito_controller.controllers.workspace.plan import Settings
from kaito_controller.controllers.workspace.planning import plan_workspace
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Outcome
from kaito_controller.kube import serde
from kaito_controller.workloads.runtimes.parameters import resolve_parameters

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def catalog():
    """Return the package's own catalogue."""
    return loader.load()


@pytest.fixture
def settings(catalog):
    """Return an operator that makes nodes and serves with CUDA."""
    runtime = catalog.runtime("vllm-cuda")
    return Settings(runtime=runtime, runtime_parameters=resolve_parameters(runtime, {}))


@pytest.fixture
def snapshot():
    """Return a function from a raw Workspace and what exists for it to a snapshot."""

    def make(raw, **found):
        try:
            return Snapshot(raw=raw, workspace=serde.structure(Workspace, raw), **found)
        except serde.SerdeError as error:
            return Snapshot(raw=raw, workspace=None, malformed=str(error), **found)

    return make


@pytest.fixture
def plan(catalog, settings, snapshot):
    """Return a function from a raw Workspace and what exists for it to its plan."""

    def make(raw, **found):
        return plan_workspace(snapshot(raw, **found), catalog, settings)

    return make


@pytest.fixture
def project(catalog, settings, snapshot):
    """Return a function from a raw Workspace and what exists for it to its status."""

    def make(raw, *, outcome=None, **found):
        seen = snapshot(raw, **found)
        made = plan_workspace(seen, catalog, settings)
        return status.project(seen, made, outcome or Outcome(steps={}), now=NOW)

    return make
