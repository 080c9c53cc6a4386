"""What the server says it serves: the legacy documents, and all of it at once (apidiscovery.k8s.io/v2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kaito_controller.kube.metadata import Object
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.kinds import Kind, Kinds
from kaito_controller.testing.fake.request import Request

_SUBRESOURCE_VERBS = {
    "status": ("get", "patch", "update"),
    "finalize": ("update",),
    "eviction": ("create",),
}
_VERSION: Object = {"major": "1", "minor": "37", "gitVersion": "v1.37.2+fake", "platform": "linux/amd64"}
_HEALTH = {"/readyz", "/livez", "/healthz"}


def answer(kinds: Kinds, request: Request) -> Object | str | None:
    """The document at a path; None when it is no path of discovery. Raises a `RefusalError` 404."""
    if request.path in _HEALTH:
        return "ok"
    parts = [part for part in request.path.split("/") if part]
    if parts in (["api"], ["apis"]):
        return _root(kinds, parts[0], whole=_wants_all(request))
    if parts == ["version"]:
        return _VERSION
    match parts:
        case ["apis", group]:
            return _group_document(kinds, group)
        case ["api", version]:
            group = ""
        case ["apis", group, version]:
            pass
        case _:
            return None
    return _resource_list(kinds, group, version)


def _root(kinds: Kinds, root: str, *, whole: bool) -> Object:
    groups = [""] if root == "api" else _groups(kinds)
    if whole:
        return _aggregated(kinds, groups)
    return {"kind": "APIVersions", "versions": ["v1"]} if root == "api" else _group_list(kinds, groups)


def _group_document(kinds: Kinds, group: str) -> Object:
    if not kinds.knows_group(group):
        raise status.no_such_page()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(kinds, group)}


def _wants_all(request: Request) -> bool:
    return "as=APIGroupDiscoveryList" in request.accept and "v=v2" in request.accept.replace("v=v2beta1", "")


def _groups(kinds: Kinds) -> list[str]:
    return [group for group in dict.fromkeys(kind.resource.group for kind in kinds) if group]


def _versions(kinds: Kinds, group: str) -> list[str]:
    """The versions of a group, the preferred one first: stable before beta before alpha, then the newer ones."""
    found = {kind.resource.version for kind in kinds if kind.resource.group == group}
    return sorted(found, key=_rank, reverse=True)


def _rank(version: str) -> tuple[int, int, int]:
    major, level, minor = _digits(version.removeprefix("v"))
    return {"": 3, "beta": 2, "alpha": 1}.get(level, 0), major, minor


def _digits(text: str) -> tuple[int, str, int]:
    for level in ("alpha", "beta"):
        major, found, minor = text.partition(level)
        if found:
            return int(major or 0), level, int(minor or 0)
    return (int(text), "", 0) if text.isdigit() else (0, "unknown", 0)


def _group(kinds: Kinds, group: str) -> Object:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in _versions(kinds, group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _group_list(kinds: Kinds, groups: Sequence[str]) -> Object:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(kinds, group) for group in groups]}


def _resource_list(kinds: Kinds, group: str, version: str) -> Object:
    if not kinds.knows_version(group, version):
        raise status.no_such_resource() if kinds.knows_group(group) else status.no_such_page()
    resources = [entry for kind in _of(kinds, group, version) for entry in _entries(kind)]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}


def _of(kinds: Kinds, group: str, version: str) -> list[Kind]:
    found = [kind for kind in kinds if (kind.resource.group, kind.resource.version) == (group, version)]
    return sorted(found, key=lambda kind: kind.resource.plural)


def _entries(kind: Kind) -> Iterator[Object]:
    resource = kind.resource
    entry: Object = {
        "name": resource.plural,
        "singularName": kind.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    yield entry
    for name in sorted(kind.subresources):
        yield {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(_SUBRESOURCE_VERBS.get(name, ("get",))),
        }


def _aggregated(kinds: Kinds, groups: Sequence[str]) -> Object:
    items = [
        {
            "metadata": {"name": group} if group else {},
            "versions": [
                {
                    "version": version,
                    "resources": [_discovered(kind) for kind in _of(kinds, group, version)],
                    "freshness": "Current",
                }
                for version in _versions(kinds, group)
            ],
        }
        for group in groups
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _discovered(kind: Kind) -> Object:
    resource = kind.resource
    # A kube-apiserver leaves the group and version of its own kinds out: they are those of the entry.
    own = {"group": resource.group, "version": resource.version} if kind.custom else {"group": "", "version": ""}
    response = own | {"kind": resource.kind}
    entry: Object = {
        "resource": resource.plural,
        "responseKind": response,
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.subresources:
        entry["subresources"] = [
            {"subresource": name, "responseKind": response, "verbs": list(_SUBRESOURCE_VERBS.get(name, ("get",)))}
            for name in sorted(kind.subresources)
        ]
    return entry
