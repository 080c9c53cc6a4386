"""A real object store that speaks S3, versitygw over a folder, on loopback, in a process of its own."""

from __future__ import annotations

import secrets
import socket
import time
from pathlib import Path
from typing import Final

from attrs import field, frozen

from kaito_controller.testing.ports import free_port
from kaito_controller.testing.processes import Processes
from kaito_controller.testing.programs import built

NAME: Final = "objectstore"
REGION: Final = "us-east-1"
_READY_S: Final = 20.0


class ObjectStoreError(Exception):
    """The store did not start; the message holds its last words."""


@frozen(kw_only=True)
class ObjectStore:
    """A store that keeps everything in `folder`."""

    folder: Path
    processes: Processes
    port: int = field(factory=free_port)
    user: str = "kaito"
    password: str = field(factory=lambda: secrets.token_urlsafe(18))

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a client finds it by: the keys that a Secret of a Workspace has."""
        return {
            "AWS_ACCESS_KEY_ID": self.user,
            "AWS_SECRET_ACCESS_KEY": self.password,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
        }

    def start(self) -> None:
        """Start it and return when it listens. Raises `ObjectStoreError`."""
        command: list[str | Path] = [built(NAME) / NAME, f"127.0.0.1:{self.port}", self.folder]
        names = {"ROOT_ACCESS_KEY": self.user, "ROOT_SECRET_KEY": self.password}
        self.processes.start(NAME, command, folder=self.folder, environment=names)
        deadline = time.monotonic() + _READY_S
        while not self._listens():
            if self.processes.get(NAME) is None or time.monotonic() > deadline:
                raise ObjectStoreError(f"the object store does not listen:\n{self.processes.last_words(NAME)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it; the folder stays."""
        self.processes.stop(NAME)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
        except OSError:
            return False
        return True
