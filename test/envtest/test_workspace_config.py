"""The ConfigMap of inference.config: read, not watched, and yet its correction is noticed."""

from __future__ import annotations

import pytest

from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.testing.scenario import message_of, operator


@pytest.fixture
async def running(apiserver):
    """Run the operator."""
    async with operator(apiserver.kubeconfig) as started:
        yield started


async def test_a_wrong_config_map_is_told_and_its_correction_goes_on(hands, running):
    """Given a ConfigMap that is wrong, then the Workspace says so; corrected, a claim is made without another word."""
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "flags", "namespace": hands.namespace}}
    await hands.client.create(CONFIG_MAPS, {**config_map, "data": {"inference_config.yaml": "vllm: {x: 2001-99-99}"}})
    await hands.given_workspace("flagged", inference={"preset": {"name": "phi-4-mini-instruct"}, "config": "flags"})
    told = await hands.shows("flagged", "ResourceReady", "False", "ConfigInvalid")
    assert "month must be in 1..12" in message_of(told, "ResourceReady")
    right = {"data": {"inference_config.yaml": "vllm: {max-model-len: 4096}"}}
    await hands.client.merge_patch(CONFIG_MAPS, "flags", hands.namespace, right)
    await hands.node_claims("flagged", 1)
    await hands.client.delete(WORKSPACES, "flagged", hands.namespace)
    await hands.gone(WORKSPACES, "flagged", hands.namespace)
