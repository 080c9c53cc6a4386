"""GPUs that are not there: the node itself says in its status that it has them, and pods asking for them land on it.

The node does it with its own identity, which may change its own status and nobody else's, so the operator needs no
further right. The count stays when the kubelet sends its heartbeats; a kubelet that starts anew may set it to zero,
so it is looked at again now and then.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

RESOURCE = "nvidia.com/gpu"
_UNTIL_THERE_S = 0.2
_AFTERWARDS_S = 15.0


@frozen(kw_only=True)
class EmulatedGpus:
    """Keeps `count` of nvidia.com/gpu in the status of `node`, with the kubelet's certificate from `config`."""

    node: str
    server: str
    count: int
    config: Path

    def begin(self) -> None:
        """Start doing so, in the background, for as long as this process lives."""
        threading.Thread(target=self._keep, name="emulated-gpus", daemon=True).start()

    def _keep(self) -> None:
        while True:
            try:
                there = self._ensure()
            except (OSError, http.client.HTTPException, ValueError):
                there = False
            time.sleep(_AFTERWARDS_S if there else _UNTIL_THERE_S)

    def _ensure(self) -> bool:
        """Look, and write when the count is not there; True when it is, False while there is no node."""
        path = f"/api/v1/nodes/{self.node}"
        status, node = self._call("GET", path)
        if status != http.client.OK:
            return False
        if missing_count(node, self.count):
            status, _ = self._call("PATCH", f"{path}/status", {"status": gpu_status(self.count)})
        return status == http.client.OK

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(self.server)
        context = ssl.create_default_context(cafile=str(self.config / "ca.crt"))
        context.load_cert_chain(self.config / "kubelet.crt", self.config / "kubelet.key")
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
        try:
            headers = {"Content-Type": "application/merge-patch+json", "Accept": "application/json"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


def gpu_status(count: int) -> dict[str, dict[str, str]]:
    """The part of a node's status that says it has `count` GPUs, all of them free to be allocated."""
    return {"capacity": {RESOURCE: str(count)}, "allocatable": {RESOURCE: str(count)}}


def missing_count(node: dict[str, Any], count: int) -> bool:
    """Whether a node's status does not say what `gpu_status` does."""
    status = node.get("status", {})
    return any(status.get(part, {}).get(RESOURCE) != str(count) for part in ("capacity", "allocatable"))
