"""What a kind is called on the wire, and where it lives under the API server."""

from __future__ import annotations

from typing import Final

from attrs import frozen

_ELSEWHERE: Final = frozenset("/%?#")
"""Characters that end a segment of a path, or may stand for one that does."""


@frozen(kw_only=True)
class Resource:
    """A kind that the API server serves: the half of a REST mapping that never changes at run time."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects: `apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        """The `kind` of a list of its objects."""
        return f"{self.kind}List"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of a collection (no name), an object, or a subresource of an object.

        A namespaced kind without a namespace means all namespaces and is a collection only.

        Raises:
            ValueError: the parts do not make a path of this kind.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self.kind}: cluster-scoped, so it has no namespace; found {namespace!r}")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name!r}: namespaced, so its namespace must be given too")
        if subresource and not name:
            raise ValueError(f"{self.kind}: subresource {subresource!r} needs the object's name")
        for part in (namespace, name):
            # Names are read from objects of anybody's: one that leads elsewhere would be followed with our rights.
            if part and (part in {".", ".."} or not _ELSEWHERE.isdisjoint(part)):
                raise ValueError(f"{self.kind}: {part!r} is no name; one has none of / % ? #, and is neither . nor ..")
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)
