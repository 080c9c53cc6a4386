"""An OCI registry beside the cluster: pods, nodes and this machine reach it at the address of the API server."""

from __future__ import annotations

from pathlib import Path

from kaito_controller.providers.local import files
from kaito_controller.providers.local.addresses import AddressPlan
from kaito_controller.providers.local.cluster import LocalCluster
from kaito_controller.testing.control_plane import ControlPlane
from kaito_controller.testing.registry import NAME, Registry
from local_cluster.problem import Problem
from local_cluster.state import ClusterState

SECRET_NAME = "registry"  # noqa: S105 - the name of a Secret


def ensure(state: ClusterState) -> dict[str, str]:
    """Start the cluster's registry, unless it runs, write down in cluster.json how it is reached, and return that.

    It ends with the cluster, as everything of its group. Of a cluster with simulated nodes alone it listens on the
    loopback, as the API server does. Raises `Problem`, `RegistryError`.
    """
    document = state.read() or {}
    if document.get("adopted"):
        raise Problem(f"the cluster {state.name!r} is somebody else's, and this makes registries for its own alone")
    address = str(AddressPlan.of_document(document).host_address) if "bridge" in document else "127.0.0.1"
    registry = _at(state.folder, address)
    registry.start()
    secret = files.write_json(registry.folder / "secret.json", registry.secret(SECRET_NAME))
    mounted = registry.mount(registry.folder / "mounted")
    if "bridge" in document:
        _trust(registry, LocalCluster.load(state.document_path))
    told = {"address": registry.host, "secret": str(secret), "mounted_secret": str(mounted)}
    state.write({**document, "registry": told})
    return told


def registry_of(cluster: LocalCluster) -> Registry:
    """The registry beside a cluster with real nodes, whether it runs or not."""
    return _at(cluster.state_dir, str(cluster.plan.host_address))


def _at(folder: Path, address: str) -> Registry:
    return Registry(folder=folder / NAME, processes=ControlPlane(folder=folder).processes, address=address)


def _trust(registry: Registry, cluster: LocalCluster) -> None:
    """Have every node trust its certificate, those that run and those to come; whom it lets in, pods' Secrets say."""
    url = f"https://{registry.host}"
    host = f'[host."{url}"]\n  capabilities = ["pull", "resolve", "push"]\n  ca = "{registry.certificate}"\n'
    files.write(cluster.registries_folder / registry.host / "hosts.toml", f'server = "{url}"\n{host}'.encode())


def advice(told: dict[str, str]) -> str:
    """How a person uses the registry."""
    return (
        f"Registry: images are called {told['address']}/NAME:TAG, in pods as on this machine.\n"
        f"kubectl apply --filename={told['secret']} makes the Secret {SECRET_NAME!r} that opens it to pull and push."
    )
