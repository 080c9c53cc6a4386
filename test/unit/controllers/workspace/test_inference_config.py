"""What the plan reads of a user's ConfigMap."""

from __future__ import annotations

import pytest

from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.inference_config import InferenceConfig, read_config
from kaito_controller.kube import serde
from kaito_controller.testing.builders import workspace

NAMED = serde.structure(Workspace, workspace(inference={"preset": {"name": "phi-4-mini-instruct"}, "config": "mine"}))


def config_map(text):
    """Return a ConfigMap with this configuration."""
    return {"metadata": {"name": "mine", "namespace": "models"}, "data": {"inference_config.yaml": text}}


def test_without_a_config_nothing_is_decided():
    """A Workspace that names no ConfigMap leaves everything to the plan."""
    assert InferenceConfig() == read_config(serde.structure(Workspace, workspace()), None)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("vllm:\n  max-model-len: 4096\n", 4096),
        ("vllm:\n  max_model_len: 4096\n", 4096),
        ('vllm:\n  max-model-len: "4096"\n', 4096),
        ("vllm:\n  max-model-len: auto\n", None),
        ("vllm:\n  swap-space: 4\n", None),
        ("", None),
    ],
)
def test_the_context_length_is_read(text, length):
    """The context length decides memory, so the plan must know it."""
    found = read_config(NAMED, config_map(text))
    assert length == found.flags.length
    assert 16 == len(found.digest)


@pytest.mark.parametrize(
    ("found", "reason", "said"),
    [
        (None, Reason.CONFIG_MAP_NOT_FOUND, "ConfigMap models/mine does not exist"),
        ({"data": ["inference_config.yaml"]}, Reason.CONFIG_INVALID, "found no key at all"),
        ({"data": {"other.yaml": ""}}, Reason.CONFIG_INVALID, "must have the key inference_config.yaml"),
        (config_map("vllm: [1"), Reason.CONFIG_INVALID, "must be YAML, line 1"),
        (config_map("vllm: 3"), Reason.CONFIG_INVALID, "vllm must be a map"),
        (config_map("vllm: {max-model-len: many}"), Reason.CONFIG_INVALID, "found 'many'"),
        (
            config_map("vllm: {max-model-len: 0}"),
            Reason.CONFIG_INVALID,
            "vllm.max-model-len must be a whole number from 1",
        ),
        (config_map("vllm: {gpu-memory-utilization: 2}"), Reason.CONFIG_INVALID, "at most 1, found '2'"),
        (config_map("vllm: {tensor-parallel-size: two}"), Reason.CONFIG_INVALID, "found 'two'"),
    ],
)
def test_what_cannot_be_used_is_named(found, reason, said):
    """Each mistake in the ConfigMap is told with what was found."""
    blocked = read_config(NAMED, found)
    assert reason == blocked.reason
    assert said in blocked.message


def bomb(depth):
    """Return a few lines of YAML whose value, written out, would have 7 ** depth words."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 7)}]" for level in range(1, depth)]
    return "\n".join(lines) + f"\nvllm: {{max-model-len: *a{depth - 1}}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vllm: {x: 2001-99-99}", "cannot be read as YAML: month must be in 1..12"),
        ("vllm: {x: !!int abc}", "cannot be read as YAML: invalid literal"),
        ("? [a, {b: c}]\n: d\n", "cannot be read as YAML: unhashable"),
        ("vllm: " + "[" * 900 + "]" * 900, "cannot be read as YAML"),
        ("vllm: {max-model-len: " + "9" * 5000 + "}", "cannot be read as YAML: Exceeds the limit"),
        ("vllm: {max-model-len: '" + "9" * 5000 + "'}", "from 1 to 1000000000"),
        ("vllm: {max-model-len: " + "9" * 4000 + "}", "from 1 to 1000000000"),
        ("vllm: {max-model-len: 00}", "from 1 to 1000000000"),
        ("# " + "x" * 64 * 1024, "must have at most 65536 characters"),
        (bomb(30), "found '[[[...]"),
        (bomb(30).replace("{max-model-len: *a29}", "*a29"), "must be a map of engine flags, found [[[...]"),
    ],
)
def test_a_text_that_breaks_the_parser_is_told_and_not_raised(text, said):
    """A ConfigMap that anybody may write cannot stop, fill or delay the operator: it is refused in a short sentence."""
    blocked = read_config(NAMED, config_map(text))
    assert Reason.CONFIG_INVALID == blocked.reason
    assert said in blocked.message
    assert len(blocked.message) < 600
