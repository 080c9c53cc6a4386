"""Plans of models that nobody checked: whatever a config.json says, there is a plan or a sentence."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.catalog.config_json.reader import ConfigProblem, ModelConfig, read_config
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset
from kaito_controller.sizing.candidates import candidates
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, plan_inference
from kaito_controller.sizing.memory import total
from kaito_controller.testing.tiny_configs import CONFIGS

CATALOG = load()
CUDA = CATALOG.runtime("vllm-cuda")
SKUS = [CATALOG.sku(name) for name in ("Standard_NC4as_T4_v3", "Standard_NC24ads_A100_v4", "Standard_ND96isr_H100_v5")]
NUMBERS = sorted(
    {
        name
        for config in CONFIGS.values()
        for name, value in config.items()
        if isinstance(value, int) and not isinstance(value, bool)
    }
)
# Seconds in which the worst of documents must be answered for one instance type.
PATIENCE = 2.0

sizes = st.integers(1, 10**4) | st.sampled_from([1, 2, 3, 7, 64, 127, 128, 4096, 10**6, 10**8])


def preset_of(read: ModelConfig, stored: int) -> Preset:
    return Preset(
        name="any", family="", model_id="any/any", licence="", token_limit=read.token_limit, dtype=read.dtype,
        unasked_token_limit=read.unasked_token_limit, quantisation=read.quantisation, weights_bytes=stored,
        architecture=read.architecture,
    )  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    config=st.sampled_from(sorted(CONFIGS)),
    changes=st.dictionaries(st.sampled_from(NUMBERS), sizes, max_size=4),
    sku=st.sampled_from(SKUS),
    stored=st.integers(1, 10**12),
)
def test_any_numbers_are_planned_or_refused(config: str, changes: dict[str, Any], sku: Any, stored: int):
    """No error but a refusal with its sentence, no ledger above the GPU, and no endless work."""
    try:
        read = read_config({**CONFIGS[config], **changes})
    except ConfigProblem:
        return
    began = time.process_time()
    plan = plan_inference(preset_of(read, stored), sku, runtime=CUDA)

    assert time.process_time() - began < PATIENCE
    if isinstance(plan, DoesNotFit):
        assert plan.message
    else:
        assert total(plan.ledger) <= plan.available_bytes
        assert 1 <= plan.max_model_len <= read.token_limit


def test_the_largest_document_is_answered_soon():
    """Two thousand layers of everything large, over all instance types."""
    layers = 2000
    large = {"num_hidden_layers": layers, "hidden_size": 2**16, "intermediate_size": 2**18, "layer_types": None}
    read = read_config({**CONFIGS["multi-head"], **large, "head_dim": 2**14, "max_position_embeddings": 10**9})
    began = time.process_time()
    found = candidates(preset_of(read, 10**15), CATALOG.skus, (CUDA,))

    assert time.process_time() - began < 5 * PATIENCE
    assert not any(isinstance(one.outcome, InferencePlan) for one in found)
