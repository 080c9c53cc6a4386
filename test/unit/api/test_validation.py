from __future__ import annotations

from typing import Any

import pytest

from kaito_controller.api import validation
from kaito_controller.api.kinds import WORKSPACE
from kaito_controller.api.workspace import Workspace
from kaito_controller.kube.serde import structure

PRESET: dict[str, Any] = {"preset": {"name": "tiny-phi3"}}
NODES: dict[str, Any] = {"instanceType": "Standard_NC6s_v3", "labelSelector": {"matchLabels": {"apps": "x"}}}
DATA: dict[str, Any] = {"input": {"image": "a/b:1"}, "output": {"volumeSource": {"emptyDir": {}}}}
TUNING: dict[str, Any] = {**DATA, "preset": {"name": "phi-4"}, "method": "LoRA"}


def adapter(**change: Any) -> dict[str, Any]:
    return {"source": {"name": "hat", "image": "registry.example.com/hat:1"}, **change}


def workspace(**parts: Any) -> Workspace:
    return structure(Workspace, {"metadata": {"name": "w"}, "resource": NODES, **parts})


def test_a_plain_workspace_has_no_problems_and_no_idle_fields():
    """The form of the quick start is clean."""
    plain = workspace(inference=PRESET)
    assert validation.problems(plain) == ()
    assert validation.unimplemented_fields(plain) == ()


@pytest.mark.parametrize(
    ("parts", "field", "found"),
    [
        ({}, "inference, tuning", "neither"),
        ({"inference": PRESET, "tuning": TUNING}, "inference, tuning", "both"),
        ({"inference": {}}, "inference.preset, inference.template", "neither"),
        ({"inference": {**PRESET, "template": {}}}, "inference.preset, inference.template", "both"),
        ({"inference": PRESET, "resource": {"count": 0}}, "resource.count", "0"),
        ({"tuning": TUNING, "resource": {"count": 2}}, "resource.count", "2"),
        ({"tuning": {**TUNING, "preset": None}}, "tuning.preset", "nothing"),
        ({"tuning": {**TUNING, "method": "full"}}, "tuning.method", "'full'"),
        ({"tuning": {**TUNING, "input": {}}}, "tuning.input", "0 sources"),
        ({"tuning": {**TUNING, "input": {"urls": ["ftp://a/b"]}}}, "tuning.input.urls[0]", "'ftp://a/b'"),
        ({"tuning": {**TUNING, "output": {}}}, "tuning.output", "neither"),
        ({"tuning": {**TUNING, "output": {"image": "a/b:1"}}}, "tuning.output.imagePushSecret", "nothing"),
        (
            {"inference": PRESET, "resource": {"instanceType": "x", "partition": {"mode": "mig"}}},
            "resource.partition",
            "instanceType 'x' beside it",
        ),
        ({"inference": {**PRESET, "adapters": [{}]}}, "inference.adapters[0].source", "nothing"),
        (
            {"inference": {**PRESET, "adapters": [adapter(source={"name": "A b", "image": "i"})]}},
            "inference.adapters[0].source.name",
            "'A b'",
        ),
        (
            {"inference": {**PRESET, "adapters": [adapter(source={"name": "hat"})]}},
            "inference.adapters[0].source",
            "0 sources",
        ),
        (
            {"inference": {**PRESET, "adapters": [adapter(source={"name": "hat", "urls": ["https://example.com/a"]})]}},
            "inference.adapters[0].source.urls",
            "https://example.com/a",
        ),
        (
            {"inference": {**PRESET, "adapters": [adapter(source={"name": "hat", "urls": ["hf://a/b", "hf://a/c"]})]}},
            "inference.adapters[0].source.urls",
            "hf://a/b, hf://a/c",
        ),
        (
            {"inference": {**PRESET, "adapters": [adapter(strength="2")]}},
            "inference.adapters[0].strength",
            "'2'",
        ),
        (
            {"inference": {**PRESET, "adapters": [adapter(strength="nan")]}},
            "inference.adapters[0].strength",
            "'nan'",
        ),
    ],
)
def test_a_broken_rule_is_told_with_field_and_what_was_found(parts, field, found):
    """Each is also refused by the API server; an object may be older than its rules."""
    (problem,) = validation.problems(workspace(**parts))
    assert (field, found) == (problem.field, problem.found)
    assert str(problem).startswith(f"{field}: ")


def test_equal_adapter_names_are_told_of_each():
    """Requests choose an adapter by its name."""
    told = validation.problems(workspace(inference={**PRESET, "adapters": [adapter(), adapter()]}))
    assert [one.field for one in told] == [f"inference.adapters[{index}].source.name" for index in (0, 1)]


def test_an_adapter_of_a_hub_breaks_no_rule():
    """With a revision or without."""
    sources = [{"name": "a", "urls": ["hf://org/model"]}, {"name": "b", "urls": ["hf://org/model@refs/pr/1"]}]
    adapters = [adapter(source=one) for one in sources]
    assert validation.problems(workspace(inference={**PRESET, "adapters": adapters})) == ()


def test_more_than_ten_adapters_are_too_many():
    """The number is told."""
    adapters = [adapter(source={"name": f"hat-{index}", "image": "i"}) for index in range(11)]
    (problem,) = validation.problems(workspace(inference={**PRESET, "adapters": adapters}))
    assert problem.found == "11"


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"resource": {"preferredNodes": ["n"]}}, "resource.preferredNodes"),
        ({"resource": {"partition": {"mode": "mig", "profile": "1g.10gb"}}}, "resource.partition"),
        ({"inference": {"preset": {"name": "x", "accessMode": "private"}}}, "inference.preset.accessMode"),
        (
            {"inference": {"preset": {"name": "x", "presetOptions": {"image": "i"}}}},
            "inference.preset.presetOptions.image",
        ),
        (
            {"inference": {"preset": {"name": "x", "presetOptions": {"imagePullSecrets": ["s"]}}}},
            "inference.preset.presetOptions.imagePullSecrets",
        ),
        ({"inference": {"template": {}}}, "inference.template"),
        ({"tuning": {**TUNING, "preset": {"name": "phi-4", "accessMode": "private"}}}, "tuning.preset.accessMode"),
        (
            {"metadata": {"annotations": {"kaito.sh/disable-benchmark": "false"}}},
            "metadata.annotations[kaito.sh/disable-benchmark]",
        ),
        (
            {"metadata": {"annotations": {"inference.kaito.sh/stream-source-type": "byo"}}},
            "metadata.annotations[inference.kaito.sh/stream-source-type]",
        ),
        ({"metadata": {"labels": {"kaito.sh/inference-role": "decode"}}}, "metadata.labels[kaito.sh/inference-role]"),
    ],
)
def test_a_field_that_does_nothing_yet_is_named(parts, path):
    """Nothing is accepted in silence."""
    assert validation.unimplemented_fields(workspace(**parts)) == (path,)


def test_what_does_nothing_yet_are_fields_that_say_so():
    """Each path is one of the schema, and `kubectl explain` tells what the condition does."""
    schema = WORKSPACE.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path in validation.paths_without_effect():
        if path.startswith("metadata."):
            continue
        node = schema
        for name in path.split("."):
            assert name in node["properties"], path
            node = node["properties"][name]
        assert "effect" in node["description"], path
