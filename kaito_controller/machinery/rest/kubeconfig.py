"""Reading a kubeconfig with the library's loader, but leaving us what has to be repeated: plugins and token files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

WRITTEN = ("token", "tokenFile", "username", "client-certificate", "client-certificate-data")
"""Credentials that go before those of a program, as in client-go."""
TOLD = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
"""What a program that asks is told of the cluster, besides its certificate authority."""
EXTENSION = "client.authentication.k8s.io/exec"
"""The cluster's extension that holds settings for programs."""


def loader_class(library: Any) -> Any:
    """A subclass of the loader in kubernetes_asyncio's module `kube_config`, which is handed in.

    Its objects have `token_file`, the path of one, and `plugin`: the `exec` section, its kubeconfig's folder and the
    cluster as the program may be told of it. Both are None where the user has none.
    """

    class Loader(library.KubeConfigLoader):  # type: ignore[misc]
        token_file: Path | None = None
        plugin: tuple[Mapping[str, Any], Path, Mapping[str, Any]] | None = None

        async def load_from_exec_plugin(self) -> bool:
            if any(self._user.safe_get(name) for name in WRITTEN):
                return False
            cluster = {name: self._cluster.safe_get(name) for name in TOLD if self._cluster.safe_get(name)}
            authority = library.FileOrData(
                self._cluster, "certificate-authority", file_base_path=self._get_base_path(self._cluster.path)
            ).as_data()
            if authority:
                cluster["certificate-authority-data"] = authority
            for extension in self._cluster.value.get("extensions") or ():
                if extension.get("name") == EXTENSION:
                    cluster["config"] = extension.get("extension")
            self.plugin = (dict(self._user["exec"].value), Path(self._get_base_path(self._user.path)), cluster)
            return True

        def _load_user_token(self) -> bool:
            name = self._user.safe_get("tokenFile")
            if name:
                self.token_file = Path(self._get_base_path(self._user.path)) / str(name)
            token = self._user.safe_get("token")
            if token:
                self.token = f"Bearer {token}"
            return bool(name or token)

    return Loader
