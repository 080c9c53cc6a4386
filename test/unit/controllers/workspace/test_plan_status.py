"""The plan as users read it on the Workspace, and what it takes from the operator's start."""

from __future__ import annotations

import pytest
from attrs import evolve

from kaito_controller.api.plan import PlanStatus
from kaito_controller.catalog.hardware import Price
from kaito_controller.controllers.workspace.plan import Plan
from kaito_controller.controllers.workspace.planning import plan_workspace
from kaito_controller.kube import serde
from kaito_controller.sizing.lowest_prices import lowest_prices
from kaito_controller.testing.builders import workspace

A100 = "Standard_NC24ads_A100_v4"
OLD = "Standard_NC6s_v3"


def preset_on(instance_type, preset="phi-4-mini-instruct", **fields):
    """Return a Workspace with that model on that instance type."""
    selector = {"matchLabels": {"apps": "x"}}
    resource = {"instanceType": instance_type, "labelSelector": selector}
    return workspace(resource=resource, inference={"preset": {"name": preset}}, **fields)


def price(per_hour, *, spot=False):
    """Return what an A100 costs."""
    return Price(
        instance_type=A100.upper(), per_hour=per_hour, currency="USD", source="list", date="2026-11-01", spot=spot
    )


def test_the_status_holds_the_plan_by_its_public_names(project):
    """The ledger adds up to no more than the GPU has, and the arguments are those of the pods."""
    status = project(preset_on(A100))
    plan = status["plan"]
    assert (plan["model"], plan["instanceType"]) == ("microsoft/Phi-4-mini-instruct", A100)
    assert (plan["nodes"], plan["tensorParallel"], plan["pipelineParallel"], plan["dataParallel"]) == (1, 1, 1, 1)
    assert plan["maxModelLen"] <= plan["kvTokens"]
    assert sum(entry["bytes"] for entry in plan["ledger"]) <= 80 * 2**30
    assert {"entry", "bytes", "formula", "source"} == set(plan["ledger"][0])
    assert "--model" in plan["args"]
    assert "price" not in plan
    assert serde.structure(PlanStatus, plan).kv_tokens == plan["kvTokens"]


def test_the_lowest_known_price_is_shown(catalog, settings, snapshot):
    """Not that of spot capacity, which the nodes are not."""
    priced = evolve(settings, prices=lowest_prices([price(5.0), price(3.5), price(1.0, spot=True)]))
    made = plan_workspace(snapshot(preset_on(A100)), catalog, priced)
    assert isinstance(made, Plan)
    assert made.price is not None
    assert made.price.per_hour == 3.5


def test_an_older_gpu_gets_the_runtime_that_holds_its_programs(catalog, settings, snapshot):
    """The V100 of the tutorials, in float16; without such a runtime the plan says so."""
    old = catalog.runtime("vllm-cuda-v100")
    made = plan_workspace(snapshot(preset_on(OLD)), catalog, evolve(settings, alternatives=(old,)))
    assert isinstance(made, Plan)
    assert (made.runtime, made.inference.dtype) == (old, "float16")
    assert plan_workspace(snapshot(preset_on(A100)), catalog, evolve(settings, alternatives=(old,))).runtime is not old
    blocked = plan_workspace(snapshot(preset_on(OLD)), catalog, settings)
    assert "7.0" in blocked.message


@pytest.mark.parametrize(("count", "same"), [(None, True), (2, False)])
def test_equal_questions_are_planned_once(catalog, settings, snapshot, count, same):
    """A thousand Workspaces of one model, each reconciled again and again, cost one plan."""
    first = plan_workspace(snapshot(preset_on(A100)), catalog, settings)
    other = preset_on(A100)
    other["resource"]["count"] = count
    second = plan_workspace(snapshot(other), catalog, settings)
    assert (first.inference is second.inference) is same
