"""Layers that are built once and kept in the cache outside the checkout, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from image_builder import layer
from kaito_controller.providers.local.image_archive import Blob

_KEPT = 3
"""How many builds of one layer stay in the cache, the latest used ones."""


@frozen(kw_only=True)
class Layer:
    """A layer in the cache, and what its maker noted about it."""

    blob: Blob
    notes: Mapping[str, Any]


@frozen(kw_only=True)
class Layers:
    """The cache of layers."""

    folder: Path

    def get(self, name: str, key: str, make: Callable[[Path], Mapping[str, Any]]) -> Layer:
        """Return the layer `name` of this key; let `make` fill a folder, and note what it returns, when there is none.

        Callers that come while another one makes it wait for it.
        """
        kept = self.folder / f"{name}-{key}"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(name):
            if not kept.is_dir():
                self._make(name, kept, make)
            os.utime(kept)
            self._prune(name)
        return _load(kept)

    def _make(self, name: str, kept: Path, make: Callable[[Path], Mapping[str, Any]]) -> None:
        for left_over in self.folder.glob(f".{name}-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self.folder))
        try:
            root = temporary / "root"
            root.mkdir()
            notes = dict(make(root))
            layer.write(root, temporary / "layer.tar")
            shutil.rmtree(root)
            blob = Blob.of(temporary / "layer.tar")
            record = {"digest": blob.digest, "size": blob.size, "notes": notes}
            (temporary / "record.json").write_text(json.dumps(record))
            temporary.rename(kept)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _prune(self, name: str) -> None:
        builds = sorted(self.folder.glob(f"{name}-*/"), key=lambda build: build.stat().st_mtime)
        for build in builds[:-_KEPT]:
            shutil.rmtree(build, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _load(kept: Path) -> Layer:
    record = json.loads((kept / "record.json").read_text())
    blob = Blob(content=kept / "layer.tar", digest=record["digest"], size=record["size"])
    return Layer(blob=blob, notes=record["notes"])
