"""Starts a cluster, whole or not at all, and takes it away again without a trace."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from attrs import frozen

from kaito_controller.providers.local import programs
from kaito_controller.providers.local.addresses import AddressPlan
from kaito_controller.providers.local.cluster import LocalCluster
from kaito_controller.testing.control_plane import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    KWOK,
    SCHEDULER,
    ControlPlane,
    Network,
)
from kaito_controller.testing.programs import built, program
from local_cluster import nodes, packages, registry, simulated
from local_cluster.folders import REPOSITORY, require_room
from local_cluster.kubectl import Kubectl, KubectlError
from local_cluster.phases import Phases
from local_cluster.problem import Problem
from local_cluster.state import ClusterState

OPERATOR = "operator"
STAGES = tuple(sorted((Path(__file__).parent / "kwok").glob("*.yaml")))
_STATE_GIB = 2.0


@frozen(kw_only=True)
class Wanted:
    """What a cluster is to have. `nodes` None is one real node where the machine can carry it, else a simulated one."""

    nodes: int | None = None
    kwok_nodes: int = 0
    port: int = 0
    max_nodes: int = 4
    registry: bool = False


def up(state: ClusterState, wanted: Wanted, phases: Phases) -> None:
    """Start a cluster, or add to the running one what it lacks; what a crash left is cleaned first.

    Raises `Problem`, and leaves nothing but logs then.
    """
    with state.locked():
        document = state.read()
        if document and is_running(state, document):
            _extend(state, document, wanted, phases)
            _add_registry(state, wanted, phases)
            return
        if state.exists:
            with phases.phase("cleaning"):
                clear(state)
        try:
            _create(state, wanted, phases)
            _add_registry(state, wanted, phases)
        except BaseException:
            clear(state, keep_logs=True)
            if state.exists:
                phases.stream.write(f"Everything is undone; the logs are kept in {state.folder / 'logs'}.\n")
            raise


def adopt(state: ClusterState, kubeconfig: Path) -> None:
    """Take somebody's own cluster under a name: it is asked whether it answers, and otherwise left alone."""
    kubectl = Kubectl(binary=program("kubectl"), kubeconfig=kubeconfig.absolute())
    if not kubeconfig.is_file():
        raise Problem(f"--kubeconfig: there is no file {kubeconfig}: give the kubeconfig of a cluster")
    try:
        version = kubectl.server_version()
    except (KubectlError, KeyError, ValueError) as error:
        raise Problem(f"--kubeconfig: the cluster of {kubeconfig} does not answer: {error}") from error
    with state.locked():
        document = state.read()
        if document and not document.get("adopted"):
            raise Problem(f"the cluster {state.name!r} was made here: take it down first, or choose another --name")
        place = {"kubeconfig": str(kubectl.kubeconfig), "kubernetes_version": version}
        state.write({"name": state.name, "adopted": True, **place})


def load(state: ClusterState, archive: Path) -> list[str]:
    """Load an image's archive into every node that runs and every one made later; return the names of the former.

    An operator that already runs makes nodes without it: it has read what nodes load when it started.
    """
    with state.locked():
        document = state.read()
        if not document or document.get("adopted") or "bridge" not in document:
            raise Problem(f"the cluster {state.name!r} has no real nodes of ours: start some with hack/cluster up")
        if not archive.is_file():
            raise Problem(f"there is no file {archive}: make one with hack/images build")
        names = nodes.load(LocalCluster.load(state.document_path), archive)
        kept = _keep(archive, state.folder / "images")
        if str(kept) not in document["images"]:
            state.write({**document, "images": [*document["images"], str(kept)]})
        return names


def down(state: ClusterState) -> bool:
    """Take a cluster away; False when there was none. A cluster of somebody else's is only forgotten."""
    with state.locked():
        existed = state.exists
        clear(state)
    return existed


def clear(state: ClusterState, *, keep_logs: bool = False) -> None:
    """End and remove everything of a cluster, whatever state it is in."""
    control_plane = ControlPlane(folder=state.folder)
    if keep_logs:
        for folder in state.folder.glob("nodes/*/logs"):
            shutil.copytree(folder, state.folder / "logs" / folder.parent.name, dirs_exist_ok=True)
    # The operator first: it would make again the nodes that are being removed.
    control_plane.processes.stop(OPERATOR)
    if os.geteuid() == 0 and shutil.which("ip", path=programs.PATH):
        nodes.release_network(state.folder)
    control_plane.stop()
    if keep_logs:
        state.keep_only("logs")
    else:
        state.remove()


def is_running(state: ClusterState, document: dict[str, Any]) -> bool:
    """Return whether a cluster that its document describes is whole: every component lives and the API answers."""
    if document.get("adopted"):
        return True
    control_plane = ControlPlane(folder=state.folder)
    alive = all(control_plane.processes.get(name) for name in document["components"])
    return alive and control_plane.is_ready()


def kubectl_of(document: dict[str, Any]) -> Kubectl:
    """Return the administrator's kubectl of a cluster."""
    return Kubectl(binary=program("kubectl"), kubeconfig=Path(document["kubeconfig"]))


def _create(state: ClusterState, wanted: Wanted, phases: Phases) -> None:
    real, simulated_count = _choose_nodes(wanted, phases)
    require_room(state.folder, _STATE_GIB, "a cluster", environment_variable="KAITO_STATE")
    with phases.phase("binaries"):
        parts = ((("coredns", "pause"), real), (("kwok",), simulated_count), (("registry",), wanted.registry))
        for module in ("kubernetes", *(module for modules, needed in parts if needed for module in modules)):
            phases.waits_for(module)
            built(module)
    plan = nodes.prepare_network(state.folder) if real else None
    components = [ETCD, API_SERVER, CONTROLLER_MANAGER, SCHEDULER, *([KWOK] if simulated_count else [])]
    control_plane = ControlPlane(folder=state.folder, network=_network(plan), port=wanted.port, stages=STAGES)
    with phases.phase("control plane"):
        control_plane.start([component for component in components if component not in (ETCD, API_SERVER)])
    document = {
        "name": state.name,
        "server": control_plane.server,
        "kubeconfig": str(control_plane.kubeconfig),
        "ca_cert": str(control_plane.ca.certificate),
        "ca_key": str(control_plane.ca.key),
        "bin_dir": str(built("kubernetes")),
        "state_dir": str(state.folder),
        "cluster_domain": control_plane.network.domain,
        "components": components,
        "max_nodes": wanted.max_nodes,
    }
    kubectl = kubectl_of(document)
    document["kubernetes_version"] = kubectl.server_version()
    # The API server refuses even a dry run of objects whose namespace is not there yet.
    kubectl.run("apply", "--server-side", "-f", str(REPOSITORY / "config" / "rbac" / "namespace.yaml"))
    if plan:
        images = [str(path) for path in nodes.pack_images(state.folder)]
        document |= {**plan.document(), "cluster_dns": str(plan.dns_address), "images": images}
    state.write(document)
    _add_nodes(state, kubectl, phases, real=real, simulated_count=simulated_count)


def _keep(archive: Path, folder: Path) -> Path:
    """Put an archive among the cluster's own files, so that it outlives the next build of the image."""
    kept = folder / archive.name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept.unlink(missing_ok=True)
    try:
        kept.hardlink_to(archive)
    except OSError:
        shutil.copyfile(archive, kept)
    return kept


def _extend(state: ClusterState, document: dict[str, Any], wanted: Wanted, phases: Phases) -> None:
    if document.get("adopted"):
        raise Problem(f"the name {state.name!r} is somebody's own cluster: take another --name, or forget it with down")
    if wanted.port and not document["server"].endswith(f":{wanted.port}"):
        raise Problem(f"the cluster {state.name!r} runs at {document['server']}: take it down to change --port")
    with_real_nodes = "bridge" in document
    real = (1 if with_real_nodes else 0) if wanted.nodes is None else wanted.nodes
    if with_real_nodes:
        nodes.prepare_network(state.folder)
    elif real:
        raise Problem(
            f"the cluster {state.name!r} was started without real nodes and listens on the loopback only: "
            "take it down first, or give another --name"
        )
    if wanted.kwok_nodes and KWOK not in document["components"]:
        built(KWOK)
        ControlPlane(folder=state.folder, stages=STAGES).start_components(KWOK)
        document = {**document, "components": [*document["components"], KWOK]}
        state.write(document)
    _add_nodes(state, kubectl_of(document), phases, real=real, simulated_count=wanted.kwok_nodes)


def _add_nodes(state: ClusterState, kubectl: Kubectl, phases: Phases, *, real: int, simulated_count: int) -> None:
    if real:
        with phases.phase("nodes"):
            phases.waits_for("nodes to be Ready, and the cluster's DNS")
            nodes.up(LocalCluster.load(state.document_path), real, kubectl)
    if simulated_count:
        with phases.phase("kwok nodes"):
            beside = "bridge" in (state.read() or {})
            simulated.ensure(kubectl, simulated_count, beside_real_nodes=beside)


def _add_registry(state: ClusterState, wanted: Wanted, phases: Phases) -> None:
    if wanted.registry:
        with phases.phase("registry"):
            phases.waits_for("an OCI registry to answer")
            registry.ensure(state)


def _choose_nodes(wanted: Wanted, phases: Phases) -> tuple[int, int]:
    """Return how many real and how many simulated nodes there will be, after installing what real ones need."""
    if wanted.nodes == 0:
        return 0, wanted.kwok_nodes
    count = wanted.nodes or 1
    if os.geteuid() == 0 and packages.missing():
        with phases.phase("packages"):
            packages.ensure(phases.waits_for)
    trouble = programs.problem()
    if trouble is None:
        return count, wanted.kwok_nodes
    phases.stream.write(
        f"{trouble}.\nUsing simulated nodes instead: pods on them are said to run and do not, so no model is loaded, "
        "nothing answers, and logs and exec have nothing to show.\n"
    )
    return 0, wanted.kwok_nodes or count


def _network(plan: AddressPlan | None) -> Network:
    if plan is None:
        return Network()
    return Network(address=str(plan.host_address), service_cidr=str(plan.service_cidr), pod_cidr=str(plan.pod_cidr))
