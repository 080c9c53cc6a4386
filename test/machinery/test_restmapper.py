"""Which calls finding a kind takes, and what is made of servers that say little, late or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from attrs import define, field

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client.discovery import Discovery, DiscoveryError
from kaito_controller.machinery.client.restmapper import NoMatchError, RESTMapper
from kaito_controller.machinery.errors import ApiConnectionError, ApiError

CORE = ["GET /api", "GET /apis"]


@define
class Server:
    """Serves kinds by group and version, the preferred version of a group first; `broken` paths fail."""

    served: dict[str, dict[str, list[str]]]
    aggregates: bool = True
    broken: dict[str, object] = field(factory=dict)
    asked: list[str] = field(factory=list)

    async def request(self, method: str, path: str, *, accept: str = "application/json", **_: object) -> Object:
        self.asked.append(f"{method} {path}")
        await asyncio.sleep(0)
        if (fault := self.broken.get(path)) is not None:
            if isinstance(fault, Exception):
                raise fault
            return fault  # type: ignore[return-value] - an answer of any form
        return self._answer(path, aggregated=self.aggregates and "as=APIGroupDiscoveryList" in accept)

    def _answer(self, path: str, *, aggregated: bool) -> Object:
        match path.strip("/").split("/"):
            case ["api" | "apis"] if aggregated:
                groups = [group for group in self.served if bool(group) is (path == "/apis")]
                return {"kind": "APIGroupDiscoveryList", "items": [self._aggregated(group) for group in groups]}
            case ["api"]:
                return {"kind": "APIVersions", "versions": list(self.served[""])}
            case ["apis"]:
                return {"kind": "APIGroupList", "groups": [self._group(group) for group in self.served if group]}
            case ["api", version]:
                return self._list("", version)
            case ["apis", group]:
                return self._group(group)
            case ["apis", group, version]:
                return self._list(group, version)
        raise AssertionError(path)

    def _group(self, group: str) -> Object:
        if group not in self.served:
            raise ApiError(404, "NotFound")
        versions = list(self.served[group])
        # The server lists the preferred version wherever it likes and names it apart.
        listed = [{"groupVersion": f"{group}/{each}", "version": each} for each in sorted(versions)]
        return {"kind": "APIGroup", "name": group, "versions": listed, "preferredVersion": {"version": versions[0]}}

    def _list(self, group: str, version: str) -> Object:
        if version not in self.served.get(group, {}):
            raise ApiError(404, "NotFound")
        kinds = self.served[group][version]
        resources = [{"name": f"{kind.lower()}s", "kind": kind, "namespaced": kind != "Node"} for kind in kinds]
        status = [{"name": f"{kind.lower()}s/status", "kind": kind, "namespaced": True} for kind in kinds]
        return {"kind": "APIResourceList", "resources": status + resources}

    def _aggregated(self, group: str) -> Object:
        versions = []
        for version, kinds in self.served[group].items():
            stale = f"/apis/{group}/{version}" in self.broken
            resources = [
                {
                    "resource": f"{kind.lower()}s",
                    "responseKind": {"group": group, "version": version, "kind": kind},
                    "scope": "Cluster" if kind == "Node" else "Namespaced",
                    "subresources": [{"subresource": "status", "responseKind": {"kind": kind}}],
                }
                for kind in kinds
            ]
            entry: Object = {"version": version, "freshness": "Stale" if stale else "Current"}
            versions.append(entry if stale else entry | {"resources": resources})
        return {"metadata": {"name": group} if group else {}, "versions": versions}


def server(*, aggregates: bool = True, **groups: Mapping[str, list[str]]) -> Server:
    served = {"": {"v1": ["Pod", "Node"]}, "apps": {"v1": ["Deployment"]}}
    served["example.com"] = {"v2": ["Widget"], "v1": ["Widget", "Gadget"], "v1alpha1": ["Gizmo"]}
    return Server(served | {name: dict(versions) for name, versions in groups.items()}, aggregates)


def mapper(served: Server) -> RESTMapper:
    return RESTMapper(Discovery(served))  # type: ignore[arg-type] - streams are not asked for


def resource(group: str, version: str, kind: str, *, namespaced: bool = True) -> Resource:
    return Resource(group=group, version=version, kind=kind, plural=f"{kind.lower()}s", namespaced=namespaced)


@pytest.mark.scenario("DM1")
async def test_nothing_is_fetched_before_a_kind_is_asked_for() -> None:
    """Then two calls answer every question about every group."""
    served = server()
    found = mapper(served)
    assert served.asked == []
    assert await found.resource_for("apps", "Deployment") == resource("apps", "v1", "Deployment")
    assert await found.resource_for("", "Node") == resource("", "v1", "Node", namespaced=False)
    assert await found.kind_for("example.com", "gadgets") == resource("example.com", "v1", "Gadget")
    assert served.asked == CORE


@pytest.mark.scenario("DM1")
async def test_a_server_that_does_not_aggregate_is_asked_group_by_group() -> None:
    """The same answers: the lists of groups, then only the versions of groups that are asked for, each once."""
    served = server(aggregates=False)
    found = mapper(served)
    assert await found.resource_for("apps", "Deployment") == resource("apps", "v1", "Deployment")
    assert served.asked == [*CORE, "GET /apis/apps/v1"]
    assert await found.resource_for("", "Pod") == resource("", "v1", "Pod")
    assert await found.resource_for("apps", "Deployment")
    assert served.asked[3:] == ["GET /api", "GET /api/v1"]
    assert await found.resource_for("example.com", "Gadget") == resource("example.com", "v1", "Gadget")
    assert served.asked[5:] == [f"GET /apis/example.com{each}" for each in ("", "/v2", "/v1", "/v1alpha1")]


@pytest.mark.scenario("DM3")
@pytest.mark.parametrize("aggregates", [True, False])
async def test_the_preferred_version_goes_first(aggregates: bool) -> None:
    """Among the versions that have the kind, unless one version is asked for."""
    found = mapper(server(aggregates=aggregates))
    versions = [each.version for each in await found.resources_for("example.com", "Widget")]
    assert versions == ["v2", "v1"]
    assert (await found.resource_for("example.com", "Widget")).version == "v2"
    assert (await found.resource_for("example.com", "Widget", "v1")).version == "v1"
    assert (await found.resource_for("example.com", "Gizmo")).version == "v1alpha1"


@pytest.mark.scenario("DM2")
@pytest.mark.parametrize("aggregates", [True, False])
async def test_a_miss_asks_its_group_once_more_and_then_is_one(aggregates: bool) -> None:
    """A kind, a version and a group that do not exist; the other groups are not asked about."""
    served = server(aggregates=aggregates)
    found = mapper(served)
    await found.resource_for("apps", "Deployment")
    del served.asked[:]
    for group, kind, version in (("apps", "Nothing", ""), ("apps", "Deployment", "v9"), ("no.such", "Thing", "")):
        with pytest.raises(NoMatchError, match=f"kind '{kind}': the API server serves none in {group}"):
            await found.resource_for(group, kind, version)
    assert served.asked == [*["GET /apis/apps", "GET /apis/apps/v1"] * 2, "GET /apis/no.such"]


@pytest.mark.scenario("DM2")
@pytest.mark.parametrize("aggregates", [True, False])
async def test_a_definition_installed_later_is_found(aggregates: bool) -> None:
    """A new group, a new version of a known one, a new kind in a known version."""
    served = server(aggregates=aggregates)
    found = mapper(served)
    await found.resource_for("apps", "Deployment")
    served.served["late.io"] = {"v1": ["Thing"]}
    assert (await found.resource_for("late.io", "Thing")).api_version == "late.io/v1"
    served.served["late.io"] = {"v2": ["Thing", "Other"], "v1": ["Thing"]}
    assert (await found.resource_for("late.io", "Thing", "v2")).version == "v2"
    served.served["late.io"]["v1"].append("More")
    assert (await found.resource_for("late.io", "More")).version == "v1"
    assert (await found.resource_for("late.io", "Thing")).version == "v2"


@pytest.mark.scenario("DM1", "DM2")
async def test_many_who_ask_at_once_share_the_calls() -> None:
    """Twenty first questions cost two calls, twenty misses in one group cost one look at it."""
    served = server()
    found = mapper(served)
    await asyncio.gather(*(found.resource_for("apps", "Deployment") for _ in range(20)))
    assert served.asked == CORE
    served.served["late.io"] = {"v1": ["Thing"]}
    await asyncio.gather(*(found.resource_for("late.io", "Thing") for _ in range(20)))
    assert served.asked[2:] == ["GET /apis/late.io", "GET /apis/late.io/v1"]


@pytest.mark.scenario("DM3")
@pytest.mark.parametrize("aggregates", [True, False])
async def test_a_version_that_vanished_takes_its_group_out_of_the_cache(aggregates: bool) -> None:
    """The group is said to have it but it answers 404: nothing is believed, and the next question finds the rest."""
    served = server(aggregates=aggregates)
    found = mapper(served)
    await found.resource_for("example.com", "Widget")
    served.broken["/apis/example.com/v2"] = ApiError(404, "NotFound")
    with pytest.raises(NoMatchError):
        await found.resource_for("example.com", "New")
    del served.served["example.com"]["v2"]
    assert (await found.resource_for("example.com", "Widget")).version == "v1"
    del served.served["example.com"]
    found.forget("example.com")
    with pytest.raises(NoMatchError):
        await found.resource_for("example.com", "Widget")


@pytest.mark.scenario("DM3")
@pytest.mark.parametrize("aggregates", [True, False])
@pytest.mark.parametrize(
    "fault", [ApiError(503, "ServiceUnavailable", "no endpoints"), ApiConnectionError("reset"), {"resources": [{}]}]
)
async def test_one_group_that_fails_fails_only_itself(aggregates: bool, fault: object) -> None:
    """As a dead server behind the aggregation layer does. What its healthy versions have is found all the same."""
    served = server(aggregates=aggregates)
    served.broken["/apis/example.com/v2"] = fault
    found = mapper(served)
    assert await found.resource_for("apps", "Deployment")
    assert (await found.resource_for("example.com", "Widget")).version == "v1"
    with pytest.raises(DiscoveryError, match=r"API group 'example.com': its discovery failed \(v2: "):
        await found.resource_for("example.com", "Unknown")
    with pytest.raises(NoMatchError):
        await found.resource_for("example.com", "Unknown", "v1")
    del served.broken["/apis/example.com/v2"]
    with pytest.raises(NoMatchError):
        await found.resource_for("example.com", "Unknown")
    assert (await found.resource_for("example.com", "Widget")).version == "v2"


@pytest.mark.scenario("DM3")
async def test_a_failing_reload_forgets_nothing() -> None:
    """A question that the server cannot answer now does not cost the answers of before."""
    served = server()
    found = mapper(served)
    await found.resource_for("example.com", "Widget")
    served.broken["/apis/example.com"] = ApiError(503, "ServiceUnavailable")
    with pytest.raises(ApiError, match="503"):
        await found.resource_for("example.com", "Unknown")
    assert (await found.resource_for("example.com", "Widget")).version == "v2"
    served.broken = {"/apis/example.com/v2": ApiError(503, "ServiceUnavailable")}
    with pytest.raises(DiscoveryError):
        await found.resource_for("example.com", "Unknown")
    assert (await found.resource_for("example.com", "Widget")).version == "v2"


@pytest.mark.scenario("DM1", "DM3")
async def test_half_an_answer_is_used_and_none_is_an_error() -> None:
    """/apis down: the core group is known, the others are asked for one by one. Both down: nothing was begun."""
    served = server()
    served.broken = {"/api": ApiError(500, "InternalError"), "/apis": ApiError(500, "InternalError")}
    found = mapper(served)
    with pytest.raises(ApiError, match="500"):
        await found.resource_for("", "Pod")
    del served.broken["/api"]
    assert await found.resource_for("", "Pod")
    assert (await found.resource_for("example.com", "Widget")).version == "v2"
    served = server()
    served.broken = {"/apis": ApiError(500, "InternalError")}
    assert (await mapper(served).resource_for("apps", "Deployment")).version == "v1"
