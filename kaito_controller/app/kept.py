"""What the operator keeps of the objects that it watches, where that is less than the whole.

A Node in use lists its images, a Pod carries its whole template: thousands of them would be the greater part of the
operator's memory. What is read of them is what their shapes in `kube.shapes` name. What a Workspace's children
were made with is read whole, but only when that Workspace is reconciled: it is kept as text (`views` unpacks it).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.core import CONFIG_MAPS, CONTROLLER_REVISIONS, JOBS, NODES, PODS, SERVICES, STATEFUL_SETS
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.packed import packing
from kaito_controller.machinery.cache.pruning import keeping
from kaito_controller.machinery.cache.sharing import sharing
from kaito_controller.machinery.cache.transform import Transform, strip

KEPT: Final[Mapping[Resource, Transform]] = MappingProxyType(
    {
        resource: sharing(transform)
        for resource, transform in {
            NODES: keeping("spec", "status.conditions", "status.capacity", "status.allocatable"),
            PODS: keeping(
                "spec.nodeName",
                "status.phase",
                "status.reason",
                "status.message",
                "status.conditions",
                "status.initContainerStatuses",
                "status.containerStatuses",
            ),
            CONTROLLER_REVISIONS: packing(strip, "data"),
            CONFIG_MAPS: packing(strip, "data"),
            SERVICES: packing(strip, "spec", "status"),
            STATEFUL_SETS: packing(strip, "spec"),
            # A Job is never compared: the annotation of its run says all of what it was made from.
            JOBS: keeping("status.conditions"),
            WORKSPACES: strip,
            NODE_CLAIMS: strip,
        }.items()
    }
)
