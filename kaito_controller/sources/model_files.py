"""Which files of a model count, and what was read of them. Sizes are bytes.

The choice is that of the engine as the inference server starts it (load format safetensors): the safetensors files
beside the configuration, those that the index names when there is an index; the Mistral files (consolidated*) where
there are no others; and never a subfolder's. So a copy in `original/`, `metal/` or `onnx/` is not counted, nor a second
copy in the other format. Source: vLLM 0.32.0, `DefaultModelLoader._prepare_weights` and
`filter_duplicate_safetensors_files`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Final

from attrs import field, frozen

from kaito_controller.catalog.tensor import Tensor
from kaito_controller.sources.errors import malformed
from kaito_controller.sources.safetensors import Index
from kaito_controller.sources.wording import listed

CONFIG: Final = "config.json"
PARAMS: Final = "params.json"
"""What the Mistral format has for a config.json."""
GENERATION_CONFIG: Final = "generation_config.json"
QUANTISATION_CONFIG: Final = "hf_quant_config.json"
"""What checkpoints of NVIDIA's Model Optimizer have for `quantization_config` of config.json."""
ADAPTER: Final = "adapter_"
MISTRAL: Final = "consolidated"
OTHER_FORMATS: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".gguf", ".ggml", ".h5", ".msgpack", ".onnx"})
PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt"})


class WeightsFormat(StrEnum):
    """How the weight files are named and their tensors with them."""

    HUGGING_FACE = "hf"
    MISTRAL = "mistral"


INDEXES: Final[Mapping[WeightsFormat, str]] = {
    WeightsFormat.HUGGING_FACE: "model.safetensors.index.json",
    WeightsFormat.MISTRAL: "consolidated.safetensors.index.json",
}


@frozen(kw_only=True)
class ModelFiles:
    """What a model's own files say, at one revision.

    Attributes:
        model_id: as it was asked for: a hub's id, a folder, an OCI reference.
        revision: what exactly was read: a commit of the hub, a manifest's digest, or a digest of the folder's headers.
        source: where it was read, for a person.
        config: config.json, or params.json of a model that has only that.
        params: params.json of a model in the Mistral format.
        quantisation: hf_quant_config.json, where config.json has no quantization_config.
        weights_format: how the weight files are named.
        weight_files: their names.
        tensors: those of all weight files, each once; alike experts of a layer are counted, not listed.
        unsized: why there are none; empty when there are.
    """

    model_id: str
    revision: str
    source: str
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None
    quantisation: Mapping[str, Any] | None = None
    weights_format: WeightsFormat = WeightsFormat.HUGGING_FACE
    weight_files: tuple[str, ...] = ()
    tensors: tuple[Tensor, ...] = field(default=(), repr=False)
    unsized: str = ""

    @property
    def weight_bytes(self) -> int:
        """The size of all tensors; 0 when it is not known."""
        return sum(tensor.total_bytes for tensor in self.tensors)


def weights_format(names: Collection[str]) -> WeightsFormat:
    """The format of the weights that count: Mistral's only where there are no others."""
    weights = [name for name in names if name.endswith(".safetensors") and not name.startswith(ADAPTER)]
    mistral = [name for name in weights if name.startswith(MISTRAL)]
    return WeightsFormat.MISTRAL if mistral and len(mistral) == len(weights) else WeightsFormat.HUGGING_FACE


def weight_files(names: Collection[str], chosen: WeightsFormat, index: Index | None, *, what: str) -> tuple[str, ...]:
    """The names of the weight files, sorted; none when the model has no safetensors.

    Raises:
        SourceError: the index names files that are not there.
    """
    if index is not None:
        missing = [name for name in index.files if name not in names]
        if missing:
            rule = f"{INDEXES[chosen]} must name files of the model"
            raise malformed(f"{what}: {rule}; {listed(missing)} are not there: complete the upload or the download")
        return index.files
    weights = sorted(name for name in names if name.endswith(".safetensors") and not name.startswith(ADAPTER))
    is_mistral = chosen is WeightsFormat.MISTRAL
    return tuple(name for name in weights if name.startswith(MISTRAL) == is_mistral)


def unsized(names: Collection[str]) -> str:
    """Why a model without safetensors has no sizes."""
    others = sorted(name for name in names if PurePosixPath(name).suffix in OTHER_FORMATS)
    if not others:
        return "it has no weight files: the sizes follow from its configuration alone"
    if any(PurePosixPath(name).suffix in PICKLES for name in others):
        why = "are pickles, whose sizes nobody can read without running them"
    else:
        why = "have no header that is read here"
    return f"its weights are no safetensors: {listed(others)} {why}; name a revision or a copy with safetensors"


def is_adapter(names: Collection[str]) -> bool:
    """Whether these are the files of a LoRA adapter instead of a model."""
    return "adapter_config.json" in names and CONFIG not in names and PARAMS not in names
