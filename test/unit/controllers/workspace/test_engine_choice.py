"""Which engine serves a Workspace: the operator's own, or the one that the annotation kaito.sh/runtime asks for."""

from __future__ import annotations

import attrs
import pytest

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.app import controllers
from kaito_controller.app.options import Options
from kaito_controller.controllers.workspace.planning import plan_workspace
from kaito_controller.testing.builders import workspace


@pytest.fixture
def settings(catalog):
    """Return what an operator makes of its flags: all runtimes beside the usual one."""
    return controllers.settings(Options(runtime_parameters={"image": "registry/inference@sha256:1"}), catalog, None)


def asking(engine, **more):
    return workspace(metadata={"annotations": {keys.RUNTIME: engine}}, **more)


def container_of(plan):
    (container,) = plan.stateful_set["spec"]["template"]["spec"]["containers"]
    return container


def test_without_the_annotation_vllm_serves(plan):
    """As upstream's default."""
    assert container_of(plan(workspace()))["command"][-1] == contract.SERVE_MODULE
    assert container_of(plan(asking("vllm")))["command"][-1] == contract.SERVE_MODULE


def test_the_annotation_has_transformers_serve_from_the_same_image(plan):
    """The same model, names and port; one GPU; a context that was planned; no flag that only vLLM has."""
    made = plan(asking("transformers"))
    container = container_of(made)
    assert container["command"][-1] == contract.SERVE_TRANSFORMERS_MODULE
    assert container["image"] == "registry/inference@sha256:1"
    words = container["args"]
    uri = "hf://microsoft/Phi-4-mini-instruct"
    assert words[words.index(contract.ARG_MODEL) + 1].endswith(f"/{contract.weights_folder_name(uri)}")
    assert contract.ARG_WEIGHTS_AGENT in words
    assert words[words.index(contract.ARG_MAX_MODEL_LEN) + 1] == str(made.inference.max_model_len)
    assert contract.ARG_TENSOR_PARALLEL_SIZE not in words
    assert contract.ARG_TOOL_CALL_PARSER not in words
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_transformers_was_brought_the_form_of_mistral_s_that_only_vllm_reads(plan):
    """The preset has vLLM load it; the agent fetches what the engine beside it reads."""

    def agent_of(engine: str) -> list[str]:
        made = plan(asking(engine, inference={"preset": {"name": "mistral-7b-instruct"}}))
        (agent,) = made.stateful_set["spec"]["template"]["spec"]["initContainers"]
        return list(agent["args"])

    assert contract.ARG_WEIGHTS_FORMAT in agent_of("vllm")
    assert contract.ARG_WEIGHTS_FORMAT not in agent_of("transformers")


def test_the_agents_image_was_the_default_one_on_other_gpus(catalog, snapshot):
    """Which engine and which training such GPUs need is another matter; the agent is the same."""
    given = {
        "image": "registry/inference:1",
        "agent_image": "registry/controller:1",
        "tuning_image": "registry/tuning:1",
    }
    settings = controllers.settings(Options(runtime_parameters=given), catalog, None)
    made = plan_workspace(snapshot(workspace(instance_type="Standard_NC6s_v3")), catalog, settings)
    assert made.runtime.name == "vllm-cuda-v100"
    assert made.runtime_parameters == {
        "image": "kaito-inference-v100:0.1.0",
        "agent_image": "registry/controller:1",
        "tuning_image": "kaito-tuning-v100:0.1.0",
    }


def test_one_of_several_gpus_is_held_and_told(plan):
    """The other GPUs stay free, and the plan says so."""
    made = plan(asking("transformers", instance_type="Standard_NC96ads_A100_v4"))
    assert (made.gpus_per_node, made.node_count) == (1, 1)
    assert "one of the 4 GPUs" in made.inference.notes[0]


def test_an_operator_of_transformers_serves_with_it_unasked(catalog, snapshot):
    """And with vLLM where a Workspace asks for it."""
    settings = controllers.settings(Options(runtime="transformers-cuda"), catalog, None)
    usual = plan_workspace(snapshot(workspace()), catalog, settings)
    other = plan_workspace(snapshot(asking("vllm")), catalog, settings)
    assert container_of(usual)["command"][-1] == contract.SERVE_TRANSFORMERS_MODULE
    assert container_of(other)["command"][-1] == contract.SERVE_MODULE


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (asking("llama.cpp"), "must be one of transformers, vllm, found 'llama.cpp'. Correct the annotation"),
        (asking("x" * 500), "Correct the annotation, or remove it."),
        (
            asking("transformers", resource={**workspace()["resource"], "count": 2}),
            "serves a model on one node: leave it out",
        ),
        (
            asking("transformers", inference={"preset": {"name": "qwen3-8b-awq"}}),
            "are packed (awq), and runtime transformers-cuda serves checkpoints of plain numbers",
        ),
    ],
)
def test_what_the_engine_cannot_do_is_refused_with_the_remedy(plan, found, told):
    """A condition with a reason, and what to do."""
    blocked = plan(found)
    assert told in blocked.message
    assert len(blocked.message) < 600
    assert blocked.reason in {Reason.RUNTIME_UNSUPPORTED, Reason.INVALID_SPEC}


def test_an_unknown_engine_is_the_runtimes_fault(plan):
    """Admission refuses it; an object older than the rule gets a condition."""
    assert plan(asking("llama.cpp")).reason is Reason.RUNTIME_UNSUPPORTED


def test_an_engine_that_the_operators_runtime_has_no_counterpart_of_is_refused(catalog, settings, snapshot):
    """The sentence names the runtime that the operator was started with."""
    alone = attrs.evolve(settings, alternatives=())
    blocked = plan_workspace(snapshot(asking("transformers")), catalog, alone)
    assert blocked.reason is Reason.RUNTIME_UNSUPPORTED
    assert "must be one of vllm with the operator's runtime vllm-cuda, found 'transformers'" in blocked.message
