"""Workspaces and plans to make objects from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.loader import Catalog, load
from kaito_controller.kube import serde
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.inference import InferencePlan, plan_inference
from kaito_controller.workloads.inference import stateful_set
from kaito_controller.workloads.runtimes.parameters import resolve_parameters

HOST = {
    "interpreter": "/opt/python",
    "environment": "/var/cache/kaito/inference",
    "source": "/srv/kaito",
    "models": "/var/cache/kaito/models",
}


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load()


@pytest.fixture
def workspace() -> Callable[..., Workspace]:
    """A Workspace that serves a preset; keyword arguments replace or add top-level parts."""

    def make(preset: str = "phi-3-mini-4k-instruct", **parts: Any) -> Workspace:
        metadata = {"name": "chat", "namespace": "team", "uid": "0e5c-11", **parts.pop("metadata", {})}
        resource = {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": "chat"}}}
        return serde.structure(
            Workspace,
            {
                "apiVersion": "kaito.sh/v1beta1",
                "kind": "Workspace",
                "metadata": metadata,
                "resource": {**resource, **parts.pop("resource", {})},
                "inference": {"preset": {"name": preset}, **parts.pop("inference", {})},
                **parts,
            },
        )

    return make


@pytest.fixture
def serve(catalog: Catalog) -> Callable[..., Object]:
    """The StatefulSet of a Workspace, planned on its instance type."""

    def make(workspace: Workspace, *, runtime: str = "vllm-cuda", **options: Any) -> Object:
        assert workspace.inference is not None
        assert workspace.inference.preset is not None
        chosen = catalog.runtime(runtime)
        preset = catalog.preset(workspace.inference.preset.name)
        sku = catalog.sku(workspace.resource.instance_type)
        plan = plan_inference(preset, sku, node_count=workspace.resource.count, runtime=chosen)
        assert isinstance(plan, InferencePlan), plan
        given = HOST if runtime == "vllm-cpu-host" else {}
        return stateful_set(workspace, preset, plan, chosen, parameters=resolve_parameters(chosen, given), **options)

    return make
