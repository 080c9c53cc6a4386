"""Everything that is checked of an adapter's files before the engine may see them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NoReturn

from attrs import frozen

from inference_server import contract
from inference_server.agent import adapter_config, tensor_file
from inference_server.agent.adapter_config import AdapterConfig
from inference_server.agent.base_model import BaseModel
from inference_server.agent.refusal import AdapterRefusedError, Reason
from inference_server.agent.tensor_file import Tensor, TensorFileError

TENSORS_NAME: Final = "adapter_model.safetensors"
PICKLED: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
PREFIX: Final = "base_model.model."
WEIGHT: Final = re.compile(r"(?P<module>[\w.-]{1,1000})\.lora_(?P<half>[AB])\.weight", re.ASCII)
EMBEDDING: Final = re.compile(r"(?P<module>[\w.-]{1,1000})\.lora_embedding_(?P<half>[AB])", re.ASCII)
FLOATS: Final = frozenset({"F32", "F16", "BF16"})


@frozen(kw_only=True)
class Inspected:
    """An adapter that may be loaded."""

    config: AdapterConfig
    modules: tuple[str, ...]


@frozen(kw_only=True)
class Checks:
    """What adapters are held against."""

    find_base: Callable[[], BaseModel]
    max_rank: int | None = None

    def inspect(self, folder: Path, annotations: Mapping[str, str] | None = None) -> Inspected:
        """Reads headers only, never the weights. Raises AdapterRefusedError, with the rank where it is known."""
        config, base = adapter_config.read(folder), self.find_base()
        _check_names(base, config, (annotations or {}).get(contract.ANNOTATION_MODEL_NAME))
        modules = _modules(_tensors(folder))
        for module, halves in modules.items():
            _check_module(base, module, halves, config)
        rank = config.highest_rank
        if self.max_rank is not None and rank > self.max_rank:
            raise AdapterRefusedError(
                reason=Reason.RANK_TOO_HIGH,
                message=f"its rank is {rank}, and the engine was started for ranks up to {self.max_rank}",
                rank=rank,
            )
        return Inspected(config=config, modules=tuple(modules))


def _check_names(base: BaseModel, config: AdapterConfig, annotation: str | None) -> None:
    for name, where in (
        (annotation, contract.ANNOTATION_MODEL_NAME),
        (config.base_model, adapter_config.FILE_NAME),
    ):
        if base.contradicts(name):
            raise AdapterRefusedError(
                reason=Reason.WRONG_BASE_MODEL,
                message=f"{where} says that it was made for {name}, and this engine serves {base.names[0]}; "
                "name an adapter of this model",
            )


def _check_module(base: BaseModel, module: str, halves: Mapping[str, Tensor], config: AdapterConfig) -> None:
    if set(halves) != {"A", "B"}:
        _invalid(f"{module} has only half of its weights")
    shapes = [halves[half].shape for half in "AB"]
    if any(len(shape) != 2 for shape in shapes):  # noqa: PLR2004 (matrices)
        _invalid(f"the weights of {module} are no matrices")
    (rank_a, into), (out, rank_b) = shapes
    rank = config.rank_of(module)
    if not rank_a == rank_b == rank:
        _invalid(f"the weights of {module} have ranks {rank_a} and {rank_b}, and the config says {rank}")
    why = base.disagreement(module, out, into)
    if why is not None:
        raise AdapterRefusedError(
            reason=Reason.WRONG_BASE_MODEL, message=f"{module} does not fit: {why}; name an adapter of this model"
        )


def missing_tensors(names: Iterable[str]) -> str:
    """What to say of a folder with these files and without TENSORS_NAME."""
    pickled = sorted(name for name in names if name.endswith(PICKLED))
    found = f"only {', '.join(pickled)[:80]}, which may run code when it is read" if pickled else "none"
    return f"{TENSORS_NAME} is needed, found {found}; save the adapter as safetensors"


def _tensors(folder: Path) -> Mapping[str, Tensor]:
    path = folder / TENSORS_NAME
    try:
        return tensor_file.read_header(path)
    except FileNotFoundError:
        _invalid(missing_tensors(path.name for path in folder.iterdir()))
    except OSError as error:
        _invalid(f"{TENSORS_NAME} cannot be read: {error.strerror}")
    except TensorFileError as error:
        _invalid(f"{TENSORS_NAME} is broken: {error}")


def _modules(tensors: Mapping[str, Tensor]) -> Mapping[str, Mapping[str, Tensor]]:
    """Module → its halves A and B. Raises AdapterRefusedError for any tensor that is neither."""
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = WEIGHT.fullmatch(name)
        if found is None:
            what = "LoRA on an embedding" if EMBEDDING.fullmatch(name) else "no LoRA weight"
            raise AdapterRefusedError(
                reason=Reason.UNSUPPORTED, message=f"{name} is {what}; the engine cannot serve it"
            )
        if tensor.dtype not in FLOATS:
            _invalid(f"{name} is of type {tensor.dtype}; LoRA weights are F32, F16 or BF16")
        modules.setdefault(found["module"].removeprefix(PREFIX), {})[found["half"]] = tensor
    if not modules:
        _invalid(f"{TENSORS_NAME} holds no weights")
    return modules


def _invalid(message: str) -> NoReturn:
    raise AdapterRefusedError(reason=Reason.FILES_INVALID, message=message)
