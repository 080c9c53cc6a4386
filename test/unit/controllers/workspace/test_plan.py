"""From what is wanted and what exists to what should exist, or to why nothing can."""

from __future__ import annotations

import attrs
import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace.planning import plan_workspace
from kaito_controller.controllers.workspace.serving import CONFIG_HASH_ANNOTATION
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.testing.builders import gpu_labels, node, workspace


def expressions(*items):
    """Return a resource on new nodes with these matchExpressions."""
    selector = {"matchExpressions": [dict(zip(("key", "operator", "values"), item, strict=False)) for item in items]}
    return {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": selector}


def test_a_preset_on_new_nodes(plan):
    """An instance type becomes NodeClaims, two Services and a StatefulSet pinned to the new nodes."""
    made = plan(workspace())
    assert (True, 1, "phi-4-mini-instruct") == (made.provisions, made.node_count, made.preset.name)
    claim = made.claim(0)
    assert made.claim_name(0) == claim["metadata"]["name"]
    assert "demo" == claim["metadata"]["labels"][keys.WORKSPACE_NAME]
    assert "Never" == claim["spec"]["expireAfter"]
    assert ["demo", "demo-headless"] == [service["metadata"]["name"] for service in made.services]
    affinity = made.stateful_set["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {"apps", keys.WORKSPACE_NAME, keys.WORKSPACE_NAMESPACE} == {
        need["key"] for need in terms[0]["matchExpressions"]
    }
    assert "1" == made.stateful_set["metadata"]["annotations"][keys.WORKSPACE_REVISION]


def test_names_of_claims_are_a_function_of_the_workspace(plan):
    """Two plans of one Workspace name the same claims, so a stale view cannot make one too many."""
    assert plan(workspace()).claim_name(0) == plan(workspace()).claim_name(0)
    other = workspace(metadata={"uid": "another"})
    assert plan(workspace()).claim_name(0) != plan(other).claim_name(0)


def test_existing_nodes_are_sized_by_their_labels(plan):
    """Without an instance type the GPUs come from the nodes' labels, and no pins are added."""
    made = plan(workspace(instance_type=""), nodes=(node(labels=gpu_labels()),))
    assert (False, "NVIDIA A100 80GB PCIe") == (made.provisions, made.sku.gpu_model)
    assert "affinity" in made.stateful_set["spec"]["template"]["spec"]
    assert keys.WORKSPACE_NAMESPACE not in str(made.stateful_set)


def test_existing_nodes_without_gpu_labels_are_sized_by_instance_type(plan):
    """A known instance-type label is enough."""
    made = plan(workspace(instance_type=""), nodes=(node(),))
    assert "Standard_NC24ads_A100_v4" == made.sku.name


def test_a_changed_configuration_restarts_the_pods(plan):
    """The server reads its configuration at start, so its digest is part of the pod template."""
    raw = workspace(inference={"preset": {"name": "phi-4-mini-instruct"}, "config": "mine"})

    def digest(text):
        config = {"data": {"inference_config.yaml": text}}
        template = plan(raw, config=config).stateful_set["spec"]["template"]
        return template["metadata"]["annotations"][CONFIG_HASH_ANNOTATION]

    assert digest("vllm: {a: b}") != digest("vllm: {a: c}")
    assert digest("vllm: {a: b}") == digest("vllm: {a: b}")


@pytest.mark.parametrize(
    ("raw", "reason", "said"),
    [
        pytest.param(workspace(preset="phi-4-mni-instruct"), Reason.UNKNOWN_PRESET, "phi-4-mini-instruct", id="preset"),
        pytest.param(
            workspace(instance_type="Standard_NC24ads_A100"),
            Reason.UNKNOWN_INSTANCE_TYPE,
            "Standard_NC24ads_A100_v4",
            id="instance type",
        ),
        pytest.param(
            workspace(preset="falcon-40b-instruct", instance_type="Standard_NV36ads_A10_v5", count=2),
            Reason.COUNT_TOO_SMALL,
            "available",
            id="count too small",
        ),
        pytest.param(
            workspace(count=33), Reason.INVALID_SPEC, "has 32 layers, at least one a node: give at most 32", id="count"
        ),
        pytest.param(
            workspace(preset="llama-3.1-8b-instruct"), Reason.INVALID_SPEC, "modelAccessSecret: required", id="gated"
        ),
        pytest.param(
            workspace(instance_type="Standard_NG32ads_V620_v1"), Reason.RUNTIME_UNSUPPORTED, "runs on", id="other GPUs"
        ),
        pytest.param(workspace(name="a" * 53), Reason.INVALID_SPEC, "at most 52 characters", id="name too long"),
        pytest.param(workspace(inference=None), Reason.INVALID_SPEC, "exactly one of them", id="neither"),
        pytest.param(
            workspace(resource={"count": "two", "labelSelector": {}}), Reason.INVALID_SPEC, "count", id="malformed"
        ),
        pytest.param(
            workspace(inference={"template": {"spec": {}}}),
            Reason.FIELDS_NOT_IMPLEMENTED,
            "inference.template",
            id="template",
        ),
        pytest.param(
            workspace(match_labels={keys.WORKSPACE_NAME: "x"}),
            Reason.SELECTOR_INVALID,
            "set by the operator",
            id="reserved key",
        ),
        pytest.param(
            workspace(instance_type="", match_labels={}), Reason.SELECTOR_INVALID, "at least one label", id="empty"
        ),
        pytest.param(
            workspace(match_labels={keys.INSTANCE_TYPE: "Standard_X"}),
            Reason.SELECTOR_INVALID,
            "no node can meet",
            id="against the instance type",
        ),
        pytest.param(
            workspace(match_labels={keys.NODEPOOL: "mine"}),
            Reason.SELECTOR_INVALID,
            "nodes have karpenter.sh/nodepool=kaito",
            id="against what marks our nodes",
        ),
        pytest.param(
            workspace(match_labels={keys.OPERATING_SYSTEM: "windows"}),
            Reason.SELECTOR_INVALID,
            "no node can meet",
            id="against linux",
        ),
        pytest.param(
            workspace(resource=expressions(("a", "In", ["x"]), ("a", "NotIn", ["x"]))),
            Reason.SELECTOR_INVALID,
            "a in (x) and a notin (x)",
            id="contradiction",
        ),
        pytest.param(
            workspace(resource=expressions(("a", "Exists"), ("a", "DoesNotExist"))),
            Reason.SELECTOR_INVALID,
            "no node can meet",
            id="exists and does not",
        ),
        pytest.param(
            workspace(instance_type=""), Reason.NODE_NOT_READY, "no node matches apps=phi-4-mini", id="no nodes"
        ),
    ],
)
def test_blocked(plan, raw, reason, said):
    """Each thing that cannot be planned has its reason and says what to do."""
    blocked = plan(raw)
    assert isinstance(blocked, Blocked)
    assert reason == blocked.reason
    assert said in blocked.message


def test_a_model_that_does_not_fit_says_how_many_bytes(catalog, settings, snapshot):
    """Too small an instance type is told with what is needed and what is available."""
    one_node = attrs.evolve(catalog.runtime("vllm-cuda"), multi_node=False)
    raw = workspace(instance_type="Standard_NV36ads_A10_v5", preset="falcon-40b")
    blocked = plan_workspace(snapshot(raw), catalog, attrs.evolve(settings, runtime=one_node))
    assert Reason.MODEL_DOES_NOT_FIT == blocked.reason
    assert "needs" in blocked.message
    assert "are available" in blocked.message


def test_a_count_is_too_small_only_where_a_larger_one_would_do(plan):
    """On existing nodes that hold no layer however many they are, the nodes are too small and not the count."""
    tiny = tuple(node(name, labels=gpu_labels(memory_mib=2048)) for name in ("a", "b"))
    blocked = plan(workspace(preset="falcon-40b-instruct", instance_type="", count=2), nodes=tiny)
    assert Reason.MODEL_DOES_NOT_FIT == blocked.reason
    assert "choose an instance type with more or larger GPUs" in blocked.message


def test_selectors_that_can_be_met_are_planned(plan):
    """Several requirements on one key are fine when a value meets them all."""
    made = plan(workspace(resource=expressions(("a", "In", ["x", "y"]), ("a", "NotIn", ["x"]), ("b", "Exists"))))
    assert made.provisions


def test_an_instance_type_is_refused_where_no_nodes_are_made(catalog, settings, snapshot):
    """An operator that never makes nodes says so instead of waiting for them for ever."""
    blocked = plan_workspace(snapshot(workspace()), catalog, attrs.evolve(settings, provisions=False))
    assert Reason.INSTANCE_TYPE_REFUSED == blocked.reason
    assert "--node-provisioner byo" in blocked.message


def test_existing_nodes_must_say_their_gpus(plan):
    """A node of unknown hardware is named, with the labels that would tell."""
    blocked = plan(workspace(instance_type=""), nodes=(node(instance_type="custom"),))
    assert Reason.NODE_PLUGINS_NOT_READY == blocked.reason
    assert "nvidia.com/gpu.count" in blocked.message


def test_existing_nodes_must_be_alike(plan):
    """One plan serves all nodes, so mixed GPUs are refused by name."""
    mixed = (node("a", labels=gpu_labels()), node("b", labels=gpu_labels(count=4)))
    blocked = plan(workspace(instance_type=""), nodes=mixed)
    assert Reason.SELECTOR_INVALID == blocked.reason
    assert "a: 1 of NVIDIA A100 80GB PCIe; b: 4 of NVIDIA A100 80GB PCIe" in blocked.message


def test_too_long_a_context_is_the_configurations_fault(plan):
    """A context length beyond the model's limit is told as an error of the ConfigMap."""
    raw = workspace(inference={"preset": {"name": "phi-4-mini-instruct"}, "config": "mine"})
    config = {"data": {"inference_config.yaml": "vllm: {max-model-len: 9999999}"}}
    blocked = plan(raw, config=config)
    assert Reason.CONFIG_INVALID == blocked.reason
