"""What a local cluster tells those who add nodes to it: the document `cluster.json` in its state folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import urlsplit

from attrs import field, frozen

from kaito_controller.providers.local.addresses import AddressPlan
from kaito_controller.providers.local.pki import KeyPair


def group_name(state_dir: Path) -> str:
    """The name of a cluster's control group: that of its folder, and a mark of the path, for two may have one name."""
    return f"{state_dir.name}-{hashlib.sha256(str(state_dir).encode()).hexdigest()[:6]}"


def owner_name(state_dir: Path) -> str:
    """What the cluster signs its bridge with, for a person who looks at links to read."""
    return f"kaito-controller cluster {state_dir.name} in {state_dir}"


class BadClusterFile(ValueError):  # noqa: N818 - named for what it is, as a person meets it
    """The file given as the local cluster cannot be used: it says which file, what is wrong and what to do."""


@frozen(kw_only=True)
class LocalCluster:
    """A cluster whose nodes are processes of this machine.

    `server` is the API server's address as the host sees it; `state_dir` is the cluster's own folder; `images` are
    archives that every node's containerd loads at start; `max_nodes` bounds what the provider makes.
    """

    name: str
    server: str
    ca: KeyPair
    bin_dir: Path
    state_dir: Path
    plan: AddressPlan
    cluster_dns: str
    cluster_domain: str = "cluster.local"
    images: tuple[Path, ...] = field(default=())
    max_nodes: int = 4

    @classmethod
    def load(cls, path: Path) -> LocalCluster:
        """Read `cluster.json`; raises `BadClusterFile`."""
        try:
            document = json.loads(path.read_text())
            return cls(
                name=document["name"],
                server=document["server"],
                ca=KeyPair(certificate=Path(document["ca_cert"]), key=Path(document["ca_key"])),
                bin_dir=Path(document["bin_dir"]),
                state_dir=Path(document["state_dir"]),
                plan=AddressPlan.of_document(document),
                cluster_dns=document["cluster_dns"],
                cluster_domain=document["cluster_domain"],
                images=tuple(Path(image) for image in document["images"]),
                max_nodes=int(document["max_nodes"]),
            )
        except OSError as error:
            raise BadClusterFile(
                f"--local-cluster: {path} cannot be read ({error.strerror}): start a cluster with hack/cluster up "
                "and give the cluster.json in its state folder"
            ) from error
        except KeyError as error:
            raise BadClusterFile(
                f"--local-cluster: {path} lacks {error}: it was written by another version, or for a cluster without "
                "real nodes; hack/cluster down, then up"
            ) from error
        except (ValueError, TypeError) as error:
            raise BadClusterFile(
                f"--local-cluster: {path} is malformed ({error}): hack/cluster down, then up"
            ) from error

    @property
    def group(self) -> str:
        """The control group that holds the groups of its nodes."""
        return group_name(self.state_dir)

    @property
    def nodes_folder(self) -> Path:
        """Where the machines keep their state, one folder each."""
        return self.state_dir / "nodes"

    @property
    def registries_folder(self) -> Path:
        """What nodes know of registries: a folder named by the address of each, with containerd's `hosts.toml`."""
        return self.state_dir / "registries"

    @property
    def server_from_nodes(self) -> str:
        """The API server's address as nodes see it: the host's loopback is not theirs, its bridge address is."""
        parts = urlsplit(self.server)
        if parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
            return self.server
        return f"{parts.scheme}://{self.plan.host_address}:{parts.port or 443}"
