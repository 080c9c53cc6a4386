"""The state folder of one cluster: its lock, its document cluster.json, and its removal."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from kaito_controller.providers.local import files
from local_cluster.folders import state_folder
from local_cluster.problem import Problem

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


def clusters_folder() -> Path:
    """Return the folder that holds a folder for each cluster."""
    return state_folder() / "clusters"


@frozen(kw_only=True)
class ClusterState:
    """Where one cluster keeps everything it has."""

    name: str
    folder: Path

    @classmethod
    def of(cls, name: str) -> ClusterState:
        """Return the state of a cluster by its name; raises `Problem` for a name that folders and links cannot have."""
        if not _NAME.fullmatch(name):
            raise Problem(
                f"--name: {name!r} is no name for a cluster: use up to 30 small letters, digits and hyphens, "
                "with a letter or digit first and last"
            )
        return cls(name=name, folder=clusters_folder() / name)

    @property
    def document_path(self) -> Path:
        """The file that tells others how to reach the cluster and add nodes to it."""
        return self.folder / "cluster.json"

    @property
    def exists(self) -> bool:
        """Whether anything of the cluster is there, whole or broken."""
        return self.folder.is_dir() and any(self.folder.iterdir())

    def read(self) -> dict[str, Any] | None:
        """Return cluster.json, or None when there is none that is whole."""
        try:
            document = json.loads(self.document_path.read_text())
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def write(self, document: dict[str, Any]) -> None:
        """Replace cluster.json, at once."""
        files.write_json(self.document_path, document)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cluster against other calls of this tool; raises `Problem` when one is at work on it.

        The lock is the folder itself, so that nothing stays behind when the folder is removed under it.
        """
        while True:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._lock(descriptor)
                if self._is_still_there(descriptor):
                    yield
                    return
            finally:
                os.close(descriptor)

    def remove(self) -> None:
        """Remove the folder, and those above it that are empty then."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in (self.folder.parent, self.folder.parent.parent):
            with suppress(OSError):
                folder.rmdir()

    def keep_only(self, name: str) -> None:
        """Remove everything in the folder but one entry, and the folder too when that is not there."""
        for entry in self.folder.iterdir():
            if entry.name != name:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if not self.exists:
            self.remove()

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Problem(
                f"another hack/cluster is at work on the cluster {self.name!r}: wait until it is done, or take --name"
            ) from error

    def _is_still_there(self, descriptor: int) -> bool:
        held = os.fstat(descriptor)
        try:
            found = self.folder.stat()
        except FileNotFoundError:
            return False
        return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)
