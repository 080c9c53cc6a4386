"""Reads the catalogue: the package's own YAML files, and folders of further ones laid out alike."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Generic, TypeVar

from attrs import field, frozen
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from kaito_controller.catalog.fields import CatalogError, Fields
from kaito_controller.catalog.gpus import read_gpus
from kaito_controller.catalog.hardware import GPU, SKU, Price
from kaito_controller.catalog.model import Preset, Runtime
from kaito_controller.catalog.presets import read_presets
from kaito_controller.catalog.prices import read_prices
from kaito_controller.catalog.runtimes import read_runtimes
from kaito_controller.catalog.skus import read_skus

_T = TypeVar("_T")


class UnknownName(LookupError):  # noqa: N818 (named by what is wrong, as the design does)
    """No entry of the catalogue has this name; `nearest` are the entries that look most like it."""

    what = "entry"

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        self.name = name
        self.nearest = tuple(nearest)
        hint = f"; nearest names: {', '.join(self.nearest)}" if self.nearest else ""
        super().__init__(f"no {self.what} '{name}' is in the catalogue{hint}")


class UnknownPreset(UnknownName):
    """No preset has this name."""

    what = "preset"


class UnknownInstanceType(UnknownName):
    """No instance type has this name."""

    what = "instance type"


class UnknownGPU(UnknownName):
    """No kind of GPU has this name."""

    what = "GPU"


class UnknownRuntime(UnknownName):
    """No runtime has this name."""

    what = "runtime"


@frozen(kw_only=True)
class Catalog:
    """Presets, GPUs, instance types and runtimes by name; names are found in any case."""

    presets: tuple[Preset, ...]
    gpus: tuple[GPU, ...]
    skus: tuple[SKU, ...]
    runtimes: tuple[Runtime, ...]
    _presets_by_name: Mapping[str, Preset] = field(alias="presets_by_name", repr=False, eq=False)
    _gpus_by_name: Mapping[str, GPU] = field(alias="gpus_by_name", repr=False, eq=False)
    _skus_by_name: Mapping[str, SKU] = field(alias="skus_by_name", repr=False, eq=False)
    _runtimes_by_name: Mapping[str, Runtime] = field(alias="runtimes_by_name", repr=False, eq=False)

    def preset(self, name: str) -> Preset:
        """The preset of a short name, model id or alias.

        Raises:
            UnknownPreset: there is none; the error carries the nearest names.
        """
        names = (spelling for preset in self.presets for spelling in preset.names)
        return _find(self._presets_by_name, name, UnknownPreset, names)

    def gpu(self, name: str) -> GPU:
        """The kind of GPU of a name, or of a product as a driver or a node's label spells it.

        Raises:
            UnknownGPU: there is none; the error carries the nearest names.
        """
        return _find(
            self._gpus_by_name, name, UnknownGPU, (spelling for gpu in self.gpus for spelling in _gpu_names(gpu))
        )

    def sku(self, name: str) -> SKU:
        """The instance type of a name.

        Raises:
            UnknownInstanceType: there is none; the error carries the nearest names.
        """
        return _find(self._skus_by_name, name, UnknownInstanceType, (sku.name for sku in self.skus))

    def runtime(self, name: str) -> Runtime:
        """The runtime of a name.

        Raises:
            UnknownRuntime: there is none; the error carries the nearest names.
        """
        return _find(self._runtimes_by_name, name, UnknownRuntime, (runtime.name for runtime in self.runtimes))


def load(*more: Traversable) -> Catalog:
    """The package's catalogue, and that of further folders.

    Each folder has `presets/`, `gpus/`, `skus/`, `runtimes/` as it likes; its instance types may refer to any GPU.

    Raises:
        CatalogError: a file is wrong, or two entries have one name; the message names file, line and field.
    """
    roots = (files("kaito_controller.catalog"), *more)
    presets = _Table[Preset](lambda preset: preset.names)
    gpus = _Table[GPU](_gpu_names)
    skus = _Table[SKU](lambda sku: (sku.name,))
    runtimes = _Table[Runtime](lambda runtime: (runtime.name,))
    for root in roots:
        for file, document in _documents(root, "gpus"):
            gpus.add(file, read_gpus(document))
    for root in roots:
        for file, document in _documents(root, "presets"):
            presets.add(file, read_presets(document))
        for file, document in _documents(root, "skus"):
            skus.add(file, read_skus(document, gpus.by_name))
        for file, document in _documents(root, "runtimes"):
            runtimes.add(file, read_runtimes(document))
    return Catalog(
        presets=tuple(presets.entries),
        gpus=tuple(gpus.entries),
        skus=tuple(skus.entries),
        runtimes=tuple(runtimes.entries),
        presets_by_name=presets.by_name,
        gpus_by_name=gpus.by_name,
        skus_by_name=skus.by_name,
        runtimes_by_name=runtimes.by_name,
    )


def prices_of(file: str, text: str) -> tuple[Price, ...]:
    """The prices in the text of a price file, whose name is for messages only.

    Raises:
        CatalogError: the text is wrong; the message names file, line and field.
    """
    return tuple(read_prices(document_of(file, text)))


def _gpu_names(gpu: GPU) -> tuple[str, ...]:
    return (gpu.name, *gpu.products)


class _Table(Generic[_T]):
    """Entries in their order, and by every lower-cased name."""

    def __init__(self, names: Callable[[_T], Iterable[str]]) -> None:
        self._names = names
        self._files: dict[str, str] = {}
        self.entries: list[_T] = []
        self.by_name: dict[str, _T] = {}

    def add(self, file: str, entries: Iterable[_T]) -> None:
        """Take a file's entries; a name that is taken already is an error."""
        for entry in entries:
            self.entries.append(entry)
            for name in dict.fromkeys(spelling.lower() for spelling in self._names(entry)):
                if name in self.by_name:
                    raise CatalogError(f"{file}: name: must be used once; found '{name}' in {self._files[name]} too")
                self.by_name[name] = entry
                self._files[name] = file


def _documents(root: Traversable, folder: str) -> Iterator[tuple[str, Fields]]:
    directory = root / folder
    if not directory.is_dir():
        return
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            file = f"{folder}/{entry.name}"
            yield file, document_of(file, entry.read_text(encoding="utf-8"))


def document_of(file: str, text: str) -> Fields:
    """The one mapping that a text is.

    Raises:
        CatalogError: it is none; the message names the file and, where it can, the line.
    """
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise CatalogError(f"{file}{line}: document: must be YAML; found {error.problem}") from error
    if node is None:
        raise CatalogError(f"{file}:1: document: must be a mapping of fields; found an empty file")
    return Fields(node, file=file)


def _find(by_name: Mapping[str, _T], name: str, error: type[UnknownName], names: Iterable[str]) -> _T:
    found = by_name.get(name.lower())
    if found is None:
        raise error(name, _nearest(name, names))
    return found


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    spellings = {spelling.lower(): spelling for spelling in names}
    return [spellings[match] for match in difflib.get_close_matches(name.lower(), spellings, n=3, cutoff=0.5)]
