"""Where things are inside a node; its own folder on the host is mounted at `INSIDE`."""

from __future__ import annotations

from pathlib import Path

INSIDE = Path("/run/node")
CONFIG = "config"
LOGS = "logs"
DATA = "data"
START = "start.json"
"""In the configuration: what the node's first process is to do."""

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
