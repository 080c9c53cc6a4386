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
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

_UNTIL_THERE_S = 0.2
_AFTERWARDS_S = 15.0


@frozen(kw_only=True)
class EmulatedDevices:
    """Keeps `counts` by resource (`nvidia.com/gpu`) in the status of `node`, with the kubelet's certificate."""

    node: str
    server: str
    counts: Mapping[str, int]
    config: Path

    def begin(self) -> None:
        """Start doing so, in the background, for as long as this process lives."""
        threading.Thread(target=self._keep, name="emulated-devices", daemon=True).start()

    def _keep(self) -> None:
        while True:
            try:
                there = self._ensure()
            except (OSError, http.client.HTTPException, ValueError):
                there = False
            time.sleep(_AFTERWARDS_S if there else _UNTIL_THERE_S)

    def _ensure(self) -> bool:
        """Look, and write when a count is not there; True when all are, False while there is no node."""
        path = f"/api/v1/nodes/{self.node}"
        status, node = self._call("GET", path)
        if status != http.client.OK:
            return False
        if is_missing(node, self.counts):
            status, _ = self._call("PATCH", f"{path}/status", {"status": device_status(self.counts)})
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


def device_status(counts: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """The part of a node's status that says it has these devices, all of them to be allocated."""
    quantities = {resource: str(count) for resource, count in counts.items()}
    return {"capacity": quantities, "allocatable": quantities}


def is_missing(node: Mapping[str, Any], counts: Mapping[str, int]) -> bool:
    """Whether a node's status does not say what `device_status` does."""
    status = node.get("status", {})
    wanted = device_status(counts)
    return any(
        status.get(part, {}).get(resource) != value for part in wanted for resource, value in wanted[part].items()
    )
