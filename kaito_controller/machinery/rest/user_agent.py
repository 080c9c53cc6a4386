"""How a client introduces itself: the User-Agent that the API server writes into its audit log and its metrics."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386"}
"""Names of `uname -m` that Go, and with it everything around Kubernetes, spells differently."""


def user_agent(component: str, suffix: str = "") -> str:
    """`component/version (os/arch)`, and `/suffix` for a client with a purpose of its own (RC5).

    The version is that of the installed distribution of the component's name, `unknown` when it runs from its source.
    """
    try:
        release = version(component)
    except PackageNotFoundError:
        release = "unknown"
    machine = platform.machine().lower()
    agent = f"{component}/{release} ({platform.system().lower()}/{GO_ARCHITECTURES.get(machine, machine)})"
    return f"{agent}/{suffix}" if suffix else agent
