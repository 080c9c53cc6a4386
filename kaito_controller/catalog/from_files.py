"""A model that no preset names, from what its own files say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kaito_controller.catalog.config_json.reader import read_config
from kaito_controller.catalog.model import Preset
from kaito_controller.catalog.tensor import Tensor

_PLAIN: Final[Mapping[str, str]] = {"BF16": "bfloat16", "F16": "float16"}
_DTYPE: Final = ("torch_dtype", "dtype")
_QUANTISATION: Final = "quantization_config"


def preset_from_files(
    model_id: str,
    config: Mapping[str, Any],
    *,
    tensors: Sequence[Tensor] = (),
    quantisation: Mapping[str, Any] | None = None,
    revision: str | None = None,
    source: str = "",
) -> Preset:
    """The model of a decoded `config.json`, which is named by its id.

    `tensors` are those of the weight files' headers: without any, the weights are counted from the architecture, and
    `weights_bytes` is 0. `quantisation` is a `hf_quant_config.json` that stands in for the config's own. Nobody says
    here whether a token is needed, nor under which licence the model is.

    Raises:
        ConfigProblem: a number is missing, absurd or contradicts another, or a part is of an unknown kind.
    """
    found = read_config(_completed(config, tensors, quantisation))
    return Preset(
        name=model_id,
        family=found.architecture.name,
        model_id=model_id,
        licence="",
        token_limit=found.token_limit,
        # vLLM serves a checkpoint of 32-bit numbers in half of them (config/model.py, _resolve_auto_dtype).
        dtype="bfloat16" if found.dtype == "float32" else found.dtype,
        weights_bytes=sum(tensor.total_bytes for tensor in tensors),
        architecture=found.architecture,
        parameters=None if found.quantisation else sum(one.numbers * one.count for one in tensors) or None,
        quantisation=found.quantisation,
        unasked_token_limit=found.unasked_token_limit,
        revision=revision,
        sources=(source,) if source else (),
        tensors=tuple(tensors),
    )


def _completed(
    config: Mapping[str, Any], tensors: Sequence[Tensor], quantisation: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """The config with what other files know better: the packing, and the precision where it names none."""
    more: dict[str, Any] = {}
    if quantisation is not None and config.get(_QUANTISATION) is None:
        more[_QUANTISATION] = quantisation
    if not any(_says(config, name) for name in _DTYPE):
        stored = Counter[str]()
        for tensor in tensors:
            stored[tensor.dtype] += tensor.total_bytes
        usual = next((_PLAIN[dtype] for dtype, _ in stored.most_common() if dtype in _PLAIN), None)
        if usual is not None:
            more["torch_dtype"] = usual
    return {**config, **more}


def _says(config: Mapping[str, Any], name: str) -> bool:
    nested = (value for value in config.values() if isinstance(value, Mapping))
    return any(isinstance(values.get(name), str) for values in (config, *nested))
