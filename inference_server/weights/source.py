"""Where a model's files come from: a hub or a registry, named by a URI."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Self

from attrs import evolve, frozen

from inference_server import contract
from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci.reference import Reference

# What huggingface.co takes for the parts of a repository's name, and git for the name of a revision without a slash.
_HUB: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class Scheme(StrEnum):
    """Which of them it is."""

    HUB = "hf"
    REGISTRY = "oci"


@frozen(kw_only=True)
class Source:
    """One source.

    Attributes:
        scheme: a hub or a registry.
        name: `organisation/model`, or `registry/repository:tag`.
        revision: a branch, tag or commit of the hub, a digest of the registry; empty where the name is all.
    """

    scheme: Scheme
    name: str
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `hf://ORGANISATION/MODEL[@REVISION]` or `oci://REGISTRY/NAME[:TAG][@sha256:…]`.

        Raises:
            FetchError: it is neither (invalid).
        """
        scheme, mark, rest = text.partition("://")
        if mark and scheme == Scheme.REGISTRY:
            found = Reference.parse(rest)
            name = f"{found.name}:{found.tag}" if found.tag else found.name
            return cls(scheme=Scheme.REGISTRY, name=name, revision=found.digest)
        name, at, revision = rest.partition("@")
        if mark and scheme == Scheme.HUB and _HUB.fullmatch(name) and (not at or _REVISION.fullmatch(revision)):
            return cls(scheme=Scheme.HUB, name=name, revision=revision)
        raise FetchError(
            kind=Kind.INVALID,
            subject=repr(text[:300]),
            found="this names no hub and no registry",
            remedy="write hf://ORGANISATION/MODEL[@REVISION] or oci://REGISTRY/NAME[:TAG][@sha256:…]",
        )

    @property
    def reference(self) -> str:
        """The same without its scheme, as hubs and registries are asked."""
        return f"{self.name}@{self.revision}" if self.revision else self.name

    @property
    def is_pinned(self) -> bool:
        """Whether it names the same bytes for ever."""
        return self.revision.startswith("sha256:") or bool(_COMMIT.fullmatch(self.revision))

    @property
    def folder_name(self) -> str:
        """The name of the folder that holds it."""
        return contract.weights_folder_name(str(self))

    def pinned(self, revision: str) -> Source:
        """The same source at a commit or digest."""
        return evolve(self, revision=revision)

    def __str__(self) -> str:
        """The URI."""
        return f"{self.scheme}://{self.reference}"
