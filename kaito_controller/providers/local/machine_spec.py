"""What a machine is to be, as its state folder records it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen

from kaito_controller.providers.local import files

FILE = "machine.json"


@frozen(kw_only=True)
class Taint:
    """A taint that the node bears from its first moment."""

    key: str
    effect: str
    value: str = ""


@frozen(kw_only=True)
class MachineSpec:
    """One machine: the name of its node, who asked for it, and what the node says about itself.

    `claim_uid` is empty for the base nodes of a cluster, which no NodeClaim asked for. `number` is its place in the
    address plan. `devices` are those the node pretends to have, by resource (`nvidia.com/gpu`). `images` are archives
    it loads besides those of every node. `created_at` is RFC 3339.
    """

    name: str
    number: int
    provider_id: str
    claim_uid: str = ""
    labels: Mapping[str, str] = field(factory=dict)
    taints: tuple[Taint, ...] = ()
    devices: Mapping[str, int] = field(factory=dict)
    images: tuple[str, ...] = ()
    created_at: str = ""
    deleting: bool = False

    def save(self, folder: Path) -> None:
        """Record it in the machine's folder."""
        files.write_json(folder / FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> MachineSpec | None:
        """Read what the machine's folder records, or None when there is nothing whole in it."""
        try:
            document: dict[str, Any] = json.loads((folder / FILE).read_text())
            taints = tuple(Taint(**taint) for taint in document.pop("taints"))
            images = tuple(document.pop("images"))
            return cls(taints=taints, images=images, **document)
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None


_KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "beta.kubernetes.io/instance-type",
    }
)
_KUBELET_LABEL_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


def kubelet_may_set(label: str) -> bool:
    """Whether a kubelet may give its own node this label: NodeRestriction keeps most of (k8s|kubernetes).io from it."""
    domain = label.rpartition("/")[0]
    reserved = any(domain == name or domain.endswith(f".{name}") for name in ("kubernetes.io", "k8s.io"))
    if not reserved or label in _KUBELET_LABELS:
        return True
    return any(domain == name or domain.endswith(f".{name}") for name in _KUBELET_LABEL_DOMAINS)
