"""From a URL path to what it names."""

from __future__ import annotations

from attrs import frozen

from kaito_controller.kube.resource import Resource
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.kinds import Kind, Kinds

_SPACE = 2
"""How many parts say that it is in a namespace: the word and its name."""
_LONGEST = 3
"""Plural, name, subresource."""


@frozen(kw_only=True)
class Target:
    """A collection (no name), an object, or a subresource of an object."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def resource(self) -> Resource:
        """The kind's resource."""
        return self.kind.resource

    @property
    def key(self) -> str:
        """The object's key in its collection."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def target(kinds: Kinds, path: str) -> Target:
    """What a path names; raises a `RefusalError` 404 when nothing is served there."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise status.no_such_page()
    found = _target(kinds, group, version, rest)
    if found is None:
        raise _nothing(kinds, group)
    if found.subresource and found.subresource not in found.kind.subresources:
        raise status.no_such_resource()
    return found


def _target(kinds: Kinds, group: str, version: str, rest: list[str]) -> Target | None:
    namespace = ""
    inside = len(rest) > _SPACE and rest[0] == "namespaces" and not _is_own_subresource(kinds, group, version, rest[2])
    if inside:
        namespace, rest = rest[1], rest[_SPACE:]
    kind = kinds.find(group, version, rest[0]) if rest else None
    if kind is None or len(rest) > _LONGEST or (inside and not kind.resource.namespaced):
        return None
    name, subresource = (*rest[1:], "", "")[:2]
    if name and kind.resource.namespaced and not namespace:
        return None
    return Target(kind=kind, namespace=namespace, name=name, subresource=subresource)


def _is_own_subresource(kinds: Kinds, group: str, version: str, word: str) -> bool:
    """Whether the word after a namespace's name is a part of the namespace rather than something in it."""
    spaces = kinds.find(group, version, "namespaces")
    return spaces is not None and word in spaces.subresources


def _nothing(kinds: Kinds, group: str) -> status.RefusalError:
    """Groups of the server itself answer in their own form, those of others and none at all in plain text."""
    own = any(kind.resource.group == group and not kind.custom for kind in kinds)
    return status.no_such_resource() if own else status.no_such_page()
