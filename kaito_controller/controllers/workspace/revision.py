"""The Workspace's history: one ControllerRevision per distinct spec. Pure.

Upstream's form: ``<workspace>-<hash>``, the hash as annotation, the spec as data, numbers counting up; going back to an
old spec goes back to its number. A revision that somebody else's hash named counts as current when its data is equal,
so taking over a cluster restarts nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube import metadata
from kaito_controller.kube.core import CONTROLLER_REVISIONS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.ownership import owner_reference
from kaito_controller.machinery.client.finalizers import with_finalizers

KEPT: Final = 10
HASH_CHARACTERS: Final = 10

_SPEC_FIELDS: Final = ("resource", "inference", "tuning")


@frozen(kw_only=True)
class Revision:
    """The revision of the spec as it is now, and what to write for it."""

    number: int
    spec_hash: str
    create: Object | None = None
    prune: Object | None = None


def revision_of(workspace: Object, existing: Sequence[Object]) -> Revision:
    """Return the current revision: one that exists with equal data, or the next one to create."""
    data = {name: workspace.get(name) for name in _SPEC_FIELDS}
    for revision in existing:
        if _comparable(revision.get("data") or {}) == _comparable(data):
            known = metadata.annotations(revision).get(keys.WORKSPACE_HASH, "")
            return Revision(number=number(revision), spec_hash=known or spec_hash(workspace))
    ordered = sorted(existing, key=number)
    made = _controller_revision(workspace, data, number=number(ordered[-1]) + 1 if ordered else 1)
    prune = ordered[0] if len(ordered) >= KEPT else None
    return Revision(number=number(made), spec_hash=spec_hash(workspace), create=made, prune=prune)


def spec_hash(workspace: Object) -> str:
    """Return 64 hex characters of the SHA-256 over resource, inference and tuning, one JSON line each."""
    lines = [json.dumps(workspace.get(name), sort_keys=True, separators=(",", ":")) for name in _SPEC_FIELDS]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def number(revision: Object) -> int:
    """Return the revision's number."""
    return int(revision.get("revision") or 0)


def marks(raw: Object, revision: Revision) -> Object:
    """Return the merge patch that a Workspace's metadata lacks; empty when it has everything."""
    meta = with_finalizers(raw, keys.WORKSPACE_FINALIZER)
    wanted = {keys.WORKSPACE_HASH: revision.spec_hash, keys.WORKSPACE_REVISION: str(revision.number)}
    have = metadata.annotations(raw)
    missing = {key: value for key, value in wanted.items() if have.get(key) != value}
    if missing:
        meta["annotations"] = missing
    return {"metadata": meta} if meta else {}


def _controller_revision(workspace: Object, data: Object, *, number: int) -> Object:
    digest = spec_hash(workspace)
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": f"{metadata.name(workspace)}-{digest[:HASH_CHARACTERS]}",
            "namespace": metadata.namespace(workspace),
            "labels": {keys.REVISION_OWNER: metadata.name(workspace)},
            "annotations": {keys.WORKSPACE_HASH: digest},
            "ownerReferences": [owner_reference(WORKSPACES, workspace)],
        },
        "data": data,
        "revision": number,
    }


def _comparable(data: Any) -> Any:
    """Absent, null and empty mean the same to the reader of a revision."""
    if isinstance(data, dict):
        return {key: value for key, found in data.items() if (value := _comparable(found)) not in (None, {}, [], "")}
    if isinstance(data, list):
        return [_comparable(item) for item in data]
    return data
