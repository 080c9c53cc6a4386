"""Everything a decision about one Workspace needs, as one frozen value. `views` gathers it."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.model import ModelLookup
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object


@frozen(kw_only=True)
class Snapshot:
    """One Workspace and what exists for it.

    ``workspace`` is None when the object does not have the form of its class; ``malformed`` then says why.
    ``unfit_claims`` says what is wrong with those of ``node_claims`` that cannot be judged. ``nodes``
    are those of the Workspace's claims, or, when it names no instance type, those its selector matches. ``config`` is
    the ConfigMap of ``inference.config`` or ``tuning.config``, None when it names none or there is none. ``model`` is
    what is known of a model that the catalogue does not have, None when it has it. ``reports`` are what pods last said
    of themselves, by the pod's name: untrusted. ``wanted_adapters`` is the ConfigMap that tells agents of adapters.
    """

    raw: Object
    workspace: Workspace | None
    malformed: str = ""
    revisions: tuple[Object, ...] = ()
    node_claims: tuple[Object, ...] = ()
    unfit_claims: tuple[str, ...] = ()
    nodes: tuple[Object, ...] = ()
    services: Mapping[str, Object] = field(factory=dict)
    stateful_set: Object | None = None
    job: Object | None = None
    pods: tuple[Object, ...] = ()
    config: Object | None = None
    reports: Mapping[str, Object] = field(factory=dict)
    model: ModelLookup | None = None
    wanted_adapters: Object | None = None

    def pods_of(self, workload: Object | None) -> tuple[Object, ...]:
        """The pods that a workload controls: anybody may give a pod of theirs the labels and the name of one."""
        if workload is None:
            return ()
        uid = metadata.uid(workload)
        return tuple(pod for pod in self.pods if (metadata.controller_of(pod) or {}).get("uid") == uid)
