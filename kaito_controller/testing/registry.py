"""A real OCI registry, `distribution`, with TLS of its own authority and one user, in one folder."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from kaito_controller.providers.local import files, pki
from kaito_controller.testing.ports import free_port
from kaito_controller.testing.processes import Processes
from kaito_controller.testing.programs import built

NAME: Final = "registry"
USER: Final = "kaito"
SECRET_TYPE: Final = "kubernetes.io/dockerconfigjson"  # noqa: S105 - a type of Secrets
DOCKER_CONFIG: Final = ".dockerconfigjson"
CERTIFICATE: Final = "ca.crt"
_TRIES_FOR_A_PORT: Final = 3
_READY_S: Final = 20.0
_UNAUTHORIZED: Final = 401


class RegistryError(Exception):
    """The registry did not start; the message holds its last words."""


@frozen(kw_only=True)
class Registry:
    """Where a registry keeps what it has, and how it is reached.

    Attributes:
        folder: of its keys, its user and its images.
        processes: the group that it runs in, and ends with.
        address: of this machine; the registry listens there, on a port that it keeps over restarts.
    """

    folder: Path
    processes: Processes
    address: str = "127.0.0.1"

    @property
    def host(self) -> str:
        """`address:port`, as references of images begin. Raises `RegistryError` before the first start."""
        try:
            return f"{self.address}:{(self.folder / 'port').read_text()}"
        except FileNotFoundError as error:
            raise RegistryError(f"{self.folder}: the registry was never started here: start it first") from error

    @property
    def certificate(self) -> Path:
        """The certificate of who signed the registry's."""
        return self.folder / CERTIFICATE

    @property
    def password(self) -> str:
        """The password of the user `kaito`."""
        return (self.folder / "password").read_text()

    @property
    def docker_config(self) -> str:
        """What `docker login` would write."""
        pair = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        return json.dumps({"auths": {self.host: {"auth": pair}}})

    def secret(self, name: str) -> dict[str, Any]:
        """A Secret that opens the registry, for `kubectl apply`, in whichever namespace that is told."""
        data = {DOCKER_CONFIG: self.docker_config, CERTIFICATE: self.certificate.read_text()}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "type": SECRET_TYPE,
            "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
        }

    def mount(self, folder: Path) -> Path:
        """Write the Secret's files into a folder, as the kubelet mounts them, and return the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        files.write(folder / DOCKER_CONFIG, self.docker_config.encode())
        files.write(folder / CERTIFICATE, self.certificate.read_bytes())
        return folder

    def start(self) -> None:
        """Start it, unless it runs, and return when it answers. Raises `RegistryError`."""
        if self.processes.get(NAME):
            self._wait()
            return
        self._prepare()
        for attempt in range(_TRIES_FOR_A_PORT):
            is_new = not (self.folder / "port").exists()
            if is_new:
                (self.folder / "port").write_text(str(free_port(self.address)))
            files.write_json(self.folder / "config.json", self._configuration())
            command: list[str | Path] = [built(NAME) / "registry", "serve", self.folder / "config.json"]
            self.processes.start(NAME, command, folder=self.folder)
            try:
                self._wait()
            except RegistryError as error:
                if not is_new or "address already in use" not in str(error) or attempt + 1 == _TRIES_FOR_A_PORT:
                    raise
                (self.folder / "port").unlink()
            else:
                return

    def stop(self) -> None:
        """Stop it; its images stay."""
        self.processes.stop(NAME)

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (self.folder / "complete").exists():
            return
        ca = pki.make_ca(self.folder, "registry")
        names = [self.address, *(["localhost"] if self.address.startswith("127.") else [])]
        pki.issue_server(ca, self.folder, "serving", common_name=NAME, names=names)
        password = secrets.token_urlsafe(18)
        files.write(self.folder / "password", password.encode())
        # Registries take bcrypt alone, which the standard library does not have.
        command = [str(built(NAME) / "htpasswd"), USER]
        hashed = subprocess.run(command, input=password.encode(), stdout=subprocess.PIPE, check=True).stdout
        files.write(self.folder / "htpasswd", hashed)
        (self.folder / "complete").touch()

    def _configuration(self) -> dict[str, Any]:
        return {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.folder / "images")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {
                "addr": self.host,
                "secret": self.password,
                "tls": {"certificate": str(self.folder / "serving.crt"), "key": str(self.folder / "serving.key")},
            },
            "auth": {"htpasswd": {"realm": NAME, "path": str(self.folder / "htpasswd")}},
        }

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            ended = self.processes.get(NAME) is None
            if ended or time.monotonic() > deadline:
                happened = "ended" if ended else f"did not answer within {_READY_S:.0f} s"
                raise RegistryError(f"the registry {happened}; its last words:\n{self.processes.last_words(NAME)}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=self.certificate)
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        try:
            with urllib.request.build_opener(*handlers).open(f"https://{self.host}/v2/", timeout=5.0):
                return False
        except urllib.error.HTTPError as error:
            # Whoever says nothing of himself is not let in: that is the answer of a registry that works.
            return error.code == _UNAUTHORIZED
        except OSError:
            return False
