"""References of images: `[registry/]repository[:tag][@digest]`, as docker and containerd read them."""

from __future__ import annotations

import re
from typing import Final, Self

from attrs import frozen

from inference_server.files.errors import FetchError, Kind

DEFAULT_REGISTRY: Final = "docker.io"
_HOSTS: Final = {DEFAULT_REGISTRY: "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}

# The grammar of github.com/distribution/reference, and its bound on the length of a name.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME_MAX_LENGTH: Final = 255
_MAX_PORT: Final = 65535


@frozen(kw_only=True)
class Reference:
    """One reference, complete.

    Attributes:
        registry: host and optional port, `docker.io` where the text names none.
        repository: the path, with `library/` for docker's own images.
        tag: empty where only a digest is given; `latest` where neither is.
        digest: `sha256:…`, or empty. A digest wins over a tag.
    """

    registry: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference; raises `FetchError` (invalid)."""
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise _invalid(text, f"its digest is {digest[:80]!r}, and a digest is sha256: and 64 hexadecimal digits")
        name, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:
            name, tag = rest, ""
        elif not _TAG.fullmatch(tag):
            raise _invalid(text, f"its tag is {tag[:140]!r}, and tags are at most 128 of A-Z a-z 0-9 _ . -")
        registry, repository = _split(name)
        if not _REGISTRY.fullmatch(registry) or int(_port(registry) or 1) not in range(1, _MAX_PORT + 1):
            raise _invalid(text, f"{registry[:80]!r} is no host of a registry")
        if not _REPOSITORY.fullmatch(repository):
            raise _invalid(text, f"{repository[:80]!r} is no repository, which is lower-case words parted by / . _ -")
        if len(f"{registry}/{repository}") > _NAME_MAX_LENGTH:
            raise _invalid(text, f"its name is longer than {_NAME_MAX_LENGTH} characters")
        return cls(registry=registry, repository=repository, tag=tag or ("" if at else "latest"), digest=digest)

    @property
    def host(self) -> str:
        """Where the registry answers: docker.io has its API elsewhere."""
        return _HOSTS.get(self.registry, self.registry)

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest, else the tag."""
        return self.digest or self.tag

    @property
    def name(self) -> str:
        """`registry/repository`."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        """The reference in full."""
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}{'@' if self.digest else ''}{self.digest}"


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        registry, repository = first, rest
    else:
        registry, repository = DEFAULT_REGISTRY, name
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def _port(registry: str) -> str:
    return registry.rpartition("]")[2].partition(":")[2]


def _invalid(text: str, found: str) -> FetchError:
    return FetchError(
        kind=Kind.INVALID,
        subject=repr(text[:300]),
        found=f"this is no reference of an image: {found}",
        remedy="write it as registry/repository:tag or registry/repository@sha256:…",
    )
