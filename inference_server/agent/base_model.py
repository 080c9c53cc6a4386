"""What is known of the model that the engine serves: its names, and the shapes that an adapter's must agree with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from attrs import define, field, frozen

from inference_server.agent import tensor_file
from inference_server.agent.tensor_file import TensorFileError

CONFIG_MAX_BYTES: Final = 4 * 1024 * 1024
MAX_FILES: Final = 1024
# Modules that read the hidden state, and modules that write it, by the names that nearly every architecture gives them.
READERS: Final = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj", "gate_up_proj"})
WRITERS: Final = frozenset({"o_proj", "down_proj"})
# Beside the language model: parts of another width, under names that hold one of these.
OTHER_PARTS: Final = ("vision", "visual", "audio", "tower", "encoder", "expert", "mtp", "projector")


@frozen(kw_only=True)
class BaseModel:
    """Names it goes by; module → (numbers out, numbers in) from its own files; the hidden state's width."""

    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, int]] = field(factory=dict)
    hidden_size: int | None = None
    _by_kind: Mapping[str, set[tuple[int, int]]] = field(init=False, repr=False, eq=False)

    @_by_kind.default
    def _shapes_by_kind(self) -> Mapping[str, set[tuple[int, int]]]:
        found: dict[str, set[tuple[int, int]]] = {}
        for name, shape in self.shapes.items():
            found.setdefault(name.rpartition(".")[2], set()).add(shape)
        return found

    def contradicts(self, name: str | None) -> bool:
        """Whether `name` speaks of another model. A path says nothing, and neither does a variant of the same name."""
        if not name or name.startswith(("/", ".", "~")) or name.count("/") > 1 or not self.names:
            return False
        other = _plain(name)
        own = [_plain(one) for one in self.names]
        return not any(one.startswith(other) or other.startswith(one) for one in own)

    def disagreement(self, module: str, out: int, into: int) -> str | None:
        """Why LoRA weights of this size do not fit on `module`; None when they do, or when nothing is known of it."""
        found = self.shapes.get(module)
        if found is None and self.shapes:
            found = self._only_shape_of(module.rpartition(".")[2])
        if found is not None:
            agrees = found == (out, into)
            return (
                None
                if agrees
                else f"it maps {into} to {out} numbers and the base model's maps {found[1]} to {found[0]}"
            )
        return self._against_width(module, out, into)

    def _only_shape_of(self, kind: str) -> tuple[int, int] | None:
        """The shape that all modules of this kind have, when it is one: a wrapper changes only prefixes."""
        shapes = self._by_kind.get(kind) or set[tuple[int, int]]()
        return next(iter(shapes)) if len(shapes) == 1 else None

    def _against_width(self, module: str, out: int, into: int) -> str | None:
        kind = module.rpartition(".")[2]
        if self.hidden_size is None or any(part in module for part in OTHER_PARTS):
            return None
        width = into if kind in READERS else out if kind in WRITERS else self.hidden_size
        if width == self.hidden_size:
            return None
        return f"it was made for a model that is {width} numbers wide, and the base model is {self.hidden_size} wide"


@define(kw_only=True)
class BaseFinder:
    """Finds the base model's files: a folder, or where the engine downloads a hub's model to, once it has."""

    model: str
    names: tuple[str, ...]
    downloads: Path | None = None
    _found: BaseModel | None = field(default=None, init=False)

    def find(self) -> BaseModel:
        """What is known now. Files that were read once are not read again: a model that is served does not change."""
        if self._found is None:
            found = read(self.model, self.names, self.downloads)
            if not found.shapes and found.hidden_size is None:
                return found
            self._found = found
        return self._found


def read(model: str, names: Iterable[str], downloads: Path | None = None) -> BaseModel:
    """What the files of `model` say; those that are not there or unreadable say nothing, as the engine judges them."""
    is_folder = model.startswith(("/", "."))
    known = tuple(dict.fromkeys(one for one in (PurePosixPath(model).name if is_folder else model, *names) if one))
    folder = Path(model) if is_folder else _downloaded(model, downloads)
    if folder is None:
        return BaseModel(names=known)
    return BaseModel(names=known, shapes=_shapes(folder), hidden_size=_hidden_size(folder / "config.json"))


def _downloaded(model: str, downloads: Path | None) -> Path | None:
    """The newest snapshot in a cache as huggingface_hub lays it out."""
    if downloads is None:
        return None
    snapshots = downloads / f"models--{model.partition('@')[0].replace('/', '--')}" / "snapshots"
    try:
        return max(snapshots.iterdir(), key=lambda path: path.stat().st_mtime, default=None)
    except OSError:
        return None


def hidden_size(config: Any) -> int | None:
    """The width from a decoded config.json, where a model of several parts has it under `text_config`."""
    if not isinstance(config, dict):
        return None
    text = config.get("text_config")
    value = (text if isinstance(text, dict) else config).get("hidden_size")
    return value if type(value) is int and value > 0 else None


def _hidden_size(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            return hidden_size(json.loads(file.read(CONFIG_MAX_BYTES)))
    except (OSError, ValueError, RecursionError):
        return None


def _shapes(folder: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    try:
        for path in sorted(folder.glob("*.safetensors"))[:MAX_FILES]:
            for name, tensor in tensor_file.read_header(path).items():
                # Packed weights (4 bits and the like) have shapes of their own and say nothing here.
                if name.endswith(".weight") and len(tensor.shape) == 2 and tensor.dtype in ("F32", "F16", "BF16"):  # noqa: PLR2004 (a matrix)
                    found[name.removesuffix(".weight")] = (tensor.shape[0], tensor.shape[1])
    except (OSError, TensorFileError):
        return {}
    return found


def _plain(name: str) -> str:
    return name.partition("@")[0].rpartition("/")[2].lower().replace("_", "-")
