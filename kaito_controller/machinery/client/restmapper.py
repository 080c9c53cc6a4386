"""From a kind to where the API server keeps its objects, found out when it is first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from attrs import define, evolve, field

from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client.discovery import Discovery, DiscoveryError, Group


class NoMatchError(LookupError):
    """The API server serves no such kind, also not after its group was asked for anew."""


@define
class RESTMapper:
    """Knows the kinds of an API server. Nothing is fetched before a kind is asked for (DM1).

    The first miss fetches everything if the server can say it at once, and the list of groups otherwise. A later miss
    fetches the one group again, so that a definition which was installed meanwhile is found (DM2). A group that cannot
    be discovered fails questions about itself alone (DM3).
    """

    _discovery: Discovery
    _groups: dict[str, Group] = field(init=False, factory=dict)
    _began: bool = field(init=False, default=False)
    _loads: dict[str, int] = field(init=False, factory=dict)
    _lock: asyncio.Lock = field(init=False, factory=asyncio.Lock)

    async def resource_for(self, group: str, kind: str, version: str = "") -> Resource:
        """Where objects of a kind are, in the version that the server prefers among those with the kind, or in one.

        Raises:
            NoMatchError: there is no such kind.
            DiscoveryError: it may be in a version that cannot be discovered now.
            ApiError, ApiConnectionError: the server did not answer.
        """
        found = await self._find(group, version, lambda each: each.kind == kind)
        if not found:
            raise NoMatchError(f"kind {kind!r}: the API server serves none in {_place(group, version)}")
        return found[0]

    async def resources_for(self, group: str, kind: str) -> list[Resource]:
        """The same in every version that has the kind, the preferred one first; raises as `resource_for`."""
        found = await self._find(group, "", lambda each: each.kind == kind)
        if not found:
            raise NoMatchError(f"kind {kind!r}: the API server serves none in {_place(group, '')}")
        return found

    async def kind_for(self, group: str, plural: str, version: str = "") -> Resource:
        """The kind behind a plural name such as `pods`; raises as `resource_for`."""
        found = await self._find(group, version, lambda each: each.plural == plural)
        if not found:
            raise NoMatchError(f"resource {plural!r}: the API server serves none in {_place(group, version)}")
        return found[0]

    def forget(self, group: str) -> None:
        """Ask for a group anew when it is next needed: a kind that it had was answered 404."""
        self._groups.pop(group, None)

    async def _find(self, group: str, version: str, matches: Callable[[Resource], bool]) -> list[Resource]:
        found = self._known(group, version, matches)
        if found:
            return found
        before = self._state(group)
        async with self._lock:
            # Who waited while another loaded this group takes what that found.
            if self._state(group) == before:
                await self._load(group)
                self._loads[group] = self._loads.get(group, 0) + 1
        found = self._known(group, version, matches)
        known = self._groups.get(group)
        failures = known.failures if known is not None else {}
        relevant = {name: error for name, error in failures.items() if version in {"", name}}
        if not found and relevant:
            raise DiscoveryError(group, relevant)
        return found

    def _state(self, group: str) -> tuple[bool, int]:
        return self._began, self._loads.get(group, 0)

    def _known(self, group: str, version: str, matches: Callable[[Resource], bool]) -> list[Resource]:
        known = self._groups.get(group)
        if known is None:
            return []
        return [
            resource
            for each in known.versions
            if version in {"", each}
            for resource in known.resources.get(each, ())
            if matches(resource)
        ]

    async def _load(self, name: str) -> None:
        if self._began:
            self._learn(name, await self._discovery.group(name))
            return
        found = await self._discovery.everything()
        for group in found.groups.values():
            # Without aggregation only the names of groups are known, which is nothing to remember.
            if group.resources or group.failures:
                self._learn(group.name, group)
        asked = found.groups.get(name)
        if asked is None and not found.is_whole:
            self._learn(name, await self._discovery.group(name))
        elif asked is not None and name not in self._groups:
            self._learn(name, await self._discovery.fill(asked))
        self._began = True

    def _learn(self, name: str, group: Group | None) -> None:
        if group is None:
            self._groups.pop(name, None)
            return
        old = self._groups.get(name)
        # What a version had before its discovery failed is the best that is known of it.
        kept = {each: old.resources[each] for each in group.failures if old is not None and each in old.resources}
        self._groups[name] = evolve(group, resources={**group.resources, **kept})


def _place(group: str, version: str) -> str:
    return "/".join(part for part in (group or "the core group", version) if part)
