"""What a version of the engine can serve: model architectures, by their class in config.json.

The files are made from the engine itself, by hack/codegen/architectures.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final

from attrs import frozen

from kaito_controller.catalog.fields import Fields
from kaito_controller.catalog.loader import document_of

PINNED: Final = "0.32.0"
"""The vLLM of hack/requirements, whose code the catalogue's numbers and the plan are checked against."""
DRAFT: Final = "draft"
NEAREST: Final = 3


class UnsupportedArchitectureError(Exception):
    """The engine has none of a model's architectures; `nearest` are names that it has and that look most like them."""

    def __init__(self, message: str, nearest: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.nearest = tuple(nearest)


@frozen(kw_only=True)
class Engine:
    """One version of vLLM.

    `kinds` says of each architecture what it is (text_generation, multimodal, embedding, draft...); `removed` has the
    last version of those that it can serve no more, `plugins` where to get what it needs for others.
    """

    version: str
    kinds: Mapping[str, str]
    removed: Mapping[str, str]
    plugins: Mapping[str, str]
    source: str

    def architecture(self, names: Sequence[str]) -> str:
        """The first of a model's architectures that can be served.

        Raises:
            UnsupportedArchitectureError: none can; the message says why and what to do.
        """
        for name in names:
            if self.kinds.get(name, DRAFT) != DRAFT:
                return name
        raise self._unsupported(names)

    def _unsupported(self, names: Sequence[str]) -> UnsupportedArchitectureError:
        if not names:
            return UnsupportedArchitectureError("architectures: must name the model's class in config.json; found none")
        name = names[0]
        rule = f"architectures: must be one that vLLM {self.version} has; found {name[:80]!r}"
        if name in self.kinds:
            return UnsupportedArchitectureError(f"{rule}, which only drafts for another model: serve that one")
        if name in self.removed:
            remedy = "choose a runtime with that version, or the model's successor"
            return UnsupportedArchitectureError(f"{rule}, which vLLM had until {self.removed[name]}: {remedy}")
        if name in self.plugins:
            return UnsupportedArchitectureError(f"{rule}, which needs a runtime with the plugin {self.plugins[name]}")
        nearest = self._nearest(name)
        hint = f"; nearest names: {', '.join(nearest)}" if nearest else ""
        remedy = "choose another model, or a runtime with a newer vLLM"
        return UnsupportedArchitectureError(f"{rule}{hint}: {remedy}", nearest)

    def _nearest(self, name: str) -> list[str]:
        spellings = {one.lower(): one for one, kind in self.kinds.items() if kind != DRAFT}
        return [spellings[found] for found in difflib.get_close_matches(name[:80].lower(), spellings, n=NEAREST)]


def load_engine(version: str = PINNED) -> Engine:
    """The engine of a version.

    Raises:
        CatalogError: its file is wrong.
        LookupError: there is no file of that version.
    """
    file = f"engines/vllm-{version}.yaml"
    path = files("kaito_controller.catalog") / "engines" / f"vllm-{version}.yaml"
    if "/" in version or not path.is_file():
        raise LookupError(f"no list of what vLLM {version} serves is in the catalogue: make one from that version")
    return read_engine(document_of(file, path.read_text(encoding="utf-8")))


def read_engine(document: Fields) -> Engine:
    """The engine that one file describes."""
    document.text("name")
    listed = document.mapping("architectures")
    engine = Engine(
        version=document.text("version"),
        kinds={name: kind for kind in listed for name in listed.texts(kind)},
        removed=document.text_map("removed"),
        plugins=document.text_map("plugins"),
        source=document.text("source"),
    )
    listed.done()
    document.done()
    return engine
