"""The environment variables under which everything that talks to a local cluster runs."""

from __future__ import annotations

import os

from kaito_controller.providers.local import addresses
from local_cluster.state import clusters_folder


def enter(name: str) -> None:
    """Set them for this process and what it starts, for the cluster called ``name``."""
    # kubectl would keep what it learns about this cluster in the home folder.
    os.environ["KUBECACHEDIR"] = str(clusters_folder() / name / "kubectl")
    # No program of a cluster reaches another through a proxy.
    spared = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy", ""), "127.0.0.1", addresses.ALL_PLANS]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, spared))
