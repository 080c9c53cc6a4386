"""A `params.json`, which models in the Mistral format have for a `config.json`, in the other's words.

After vLLM 0.32, transformers_utils/configs/mistral.py (adapt_config_dict).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kaito_controller.catalog.config_json.values import ConfigProblem

_WORDS: Final[Mapping[str, str]] = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "max_seq_len": "max_position_embeddings",
    "tied_embeddings": "tie_word_embeddings",
}
_LONGEST: Final = 128_000
# What makes it another architecture, or packs it: their numbers have words of their own that are not known here.
_FURTHER: Final = ("moe", "vision_encoder", "multimodal", "quantization", "q_lora_rank", "yarn", "llama_4_scaling")


def config_of_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The `config.json` of a dense text model.

    Raises:
        ConfigProblem: it is another kind of model.
    """
    further = next((name for name in _FURTHER if params.get(name)), None)
    if further is not None:
        raise ConfigProblem(
            f"params.json: {further}: is not read here, where only dense text models in plain numbers are: name a "
            "copy of the model that has a config.json"
        )
    found = {_WORDS.get(name, name): value for name, value in params.items()}
    return {"architectures": ["MistralForCausalLM"], "max_position_embeddings": _LONGEST, **found}
