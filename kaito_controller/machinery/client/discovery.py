"""What kinds an API server serves, asked for as a whole where it can say so, else group by group (DM1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_not_found
from kaito_controller.machinery.transport import Transport

AGGREGATED = ",".join(
    [
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json",
    ]
)
"""Everything in one answer, and the plain list of groups from a server that knows no better."""


# A server behind the aggregation layer may answer with anything; that is its own failure, not everybody's.
_FAILURES = (ApiError, ApiConnectionError, KeyError, TypeError, AttributeError)


class DiscoveryError(Exception):
    """Some versions of a group cannot be told now, so whether a kind is among them is not known.

    Attributes:
        failures: per version, why.
    """

    def __init__(self, group: str, failures: Mapping[str, Exception]) -> None:
        words = "; ".join(f"{version}: {error}" for version, error in failures.items())
        super().__init__(f"API group {group or 'core'!r}: its discovery failed ({words})")
        self.failures = dict(failures)


@frozen(kw_only=True)
class Group:
    """An API group as it was discovered.

    Attributes:
        versions: what it serves, the preferred version first, then as the server orders them.
        resources: per version the kinds; a version whose kinds are not known is not in it.
        failures: versions that could not be told, and why.
    """

    name: str
    versions: tuple[str, ...]
    resources: Mapping[str, Sequence[Resource]] = field(factory=dict)
    failures: Mapping[str, Exception] = field(factory=dict)


@frozen(kw_only=True)
class Everything:
    """All groups by name; not whole when the server answered only for the core group, or only for the others."""

    groups: Mapping[str, Group]
    is_whole: bool = True


@frozen
class Discovery:
    """Asks an API server what it serves. Nothing is kept here."""

    transport: Transport

    async def everything(self) -> Everything:
        """All groups, with their kinds if the server aggregates, in two calls.

        Raises:
            ApiError, ApiConnectionError: neither of the two was answered well.
        """
        found: dict[str, Group] = {}
        failures: list[Exception] = []
        for path in ("/api", "/apis"):
            try:
                answer = await self.transport.request("GET", path, accept=AGGREGATED)
                found |= {group.name: group for group in _groups(answer)}
            except _FAILURES as error:
                failures.append(error)
        if len(failures) > 1:
            raise failures[0]
        return Everything(groups=found, is_whole=not failures)

    async def group(self, name: str) -> Group | None:
        """One group with its kinds, one call and one more per version; None when the server does not serve it.

        Raises:
            ApiError, ApiConnectionError: the server does not even say which versions there are.
        """
        try:
            answer = await self.transport.request("GET", f"/apis/{name}" if name else "/api")
        except ApiError as error:
            if is_not_found(error):
                return None
            raise
        known = _plain_group(answer) if name else Group(name="", versions=tuple(answer.get("versions") or ()))
        return await self.fill(known)

    async def fill(self, known: Group) -> Group | None:
        """The group with the kinds of its versions; None when one of them is not served any more (DM3)."""
        resources: dict[str, Sequence[Resource]] = {}
        failures: dict[str, Exception] = {}
        for version in known.versions:
            try:
                resources[version] = await self.version(known.name, version)
            except _FAILURES as error:
                if is_not_found(error):
                    return None
                failures[version] = error
        return Group(name=known.name, versions=known.versions, resources=resources, failures=failures)

    async def version(self, group: str, version: str) -> Sequence[Resource]:
        """The kinds of one version of a group.

        Raises:
            ApiError, ApiConnectionError: the server does not serve it, or does not say.
        """
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        answer = await self.transport.request("GET", path)
        return [
            Resource(
                group=group,
                version=version,
                kind=str(each["kind"]),
                plural=str(each["name"]),
                namespaced=bool(each.get("namespaced")),
            )
            for each in answer.get("resources") or ()
            if "/" not in each["name"]
        ]


def _groups(answer: Object) -> list[Group]:
    """The groups of an answer to /api or /apis, in whichever form the server gave it."""
    match answer.get("kind"):
        case "APIGroupDiscoveryList":
            return [_aggregated_group(item) for item in answer.get("items") or ()]
        case "APIVersions":
            return [Group(name="", versions=tuple(answer.get("versions") or ()))]
        case _:
            return [_plain_group(item) for item in answer.get("groups") or ()]


def _plain_group(item: Mapping[str, Any]) -> Group:
    versions = [str(each["version"]) for each in item.get("versions") or ()]
    preferred = (item.get("preferredVersion") or {}).get("version")
    if preferred in versions:
        versions.remove(preferred)
        versions.insert(0, preferred)
    return Group(name=str(item.get("name") or ""), versions=tuple(versions))


def _aggregated_group(item: Mapping[str, Any]) -> Group:
    """A group of an aggregated answer. Its versions come in the order of preference."""
    name = str((item.get("metadata") or {}).get("name") or "")
    resources: dict[str, Sequence[Resource]] = {}
    failures: dict[str, Exception] = {}
    for each in item.get("versions") or ():
        version = str(each["version"])
        if each.get("freshness") == "Stale":
            failures[version] = ApiError(503, "ServiceUnavailable", "the server behind it does not answer")
        else:
            resources[version] = [_aggregated(name, version, entry) for entry in each.get("resources") or ()]
    versions = tuple(str(each["version"]) for each in item.get("versions") or ())
    return Group(name=name, versions=versions, resources=resources, failures=failures)


def _aggregated(group: str, version: str, entry: Mapping[str, Any]) -> Resource:
    # A resource with nothing but subresources has no kind of its own; nobody asks for the empty one.
    kind = (entry.get("responseKind") or {}).get("kind")
    return Resource(
        group=group,
        version=version,
        kind=str(kind or ""),
        plural=str(entry["resource"]),
        namespaced=entry.get("scope") == "Namespaced",
    )
