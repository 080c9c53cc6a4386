"""From a URL path to what it names."""

from __future__ import annotations

from attrs import frozen

from kaito_controller.kube.resource import Resource
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.kinds import Kind, Kinds


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
    group, version, rest = _api(parts)
    namespace = ""
    if rest and rest[0] == "namespaces" and len(rest) > 2 and kinds.find(group, version, rest[2]):  # noqa: PLR2004 - namespaces, its name, a plural
        kind = kinds.find(group, version, rest[2])
        if kind is not None and kind.resource.namespaced:
            namespace, rest = rest[1], rest[2:]
    kind = kinds.find(group, version, rest[0]) if rest else None
    if kind is None or len(rest) > 3:  # noqa: PLR2004 - plural, name, subresource
        raise _nothing(kinds, group, version)
    name, subresource = (*rest[1:], "", "")[:2]
    if subresource and subresource not in kind.subresources:
        raise status.no_such_resource()
    if name and kind.resource.namespaced and not namespace:
        raise status.no_such_resource()
    return Target(kind=kind, namespace=namespace, name=name, subresource=subresource)


def _api(parts: list[str]) -> tuple[str, str, list[str]]:
    if parts[:1] == ["api"] and len(parts) > 2:  # noqa: PLR2004 - api, version, plural
        return "", parts[1], parts[2:]
    if parts[:1] == ["apis"] and len(parts) > 3:  # noqa: PLR2004 - apis, group, version, plural
        return parts[1], parts[2], parts[3:]
    raise status.no_such_page()


def _nothing(kinds: Kinds, group: str, version: str) -> status.RefusalError:
    return status.no_such_resource() if not kinds.knows_version(group, version) else status.no_such_page()
