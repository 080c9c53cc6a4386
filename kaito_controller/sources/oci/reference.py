"""What an artifact is called: REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST."""

from __future__ import annotations

import re
from typing import Final, Self

from attrs import evolve, frozen

from kaito_controller.sources.errors import malformed
from kaito_controller.sources.web import is_this_machine
from kaito_controller.sources.wording import shown

SCHEME: Final = "oci://"
LATEST: Final = "latest"
DOCKER_HUB: Final = "docker.io"
HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:]{2,45}\]")
PORT: Final = re.compile(r":[0-9]{1,5}")
# The three below are the distribution specification's own.
REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
REPOSITORY_LIMIT: Final = 255


@frozen(kw_only=True)
class OciReference:
    """One artifact; `digest`, where it is given, wins over `tag`, which is empty where only a digest is."""

    registry: str
    repository: str
    tag: str = LATEST
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a reference, with or without oci:// before it.

        Raises:
            SourceError: it is none.
        """
        registry, _, rest = text.removeprefix(SCHEME).partition("/")
        rest, at, digest = rest.partition("@")
        repository, colon, tag = rest.partition(":")
        wrong = (
            (not _is_registry(registry), "a host, with :PORT if it needs one", registry),
            (len(repository) > REPOSITORY_LIMIT or not REPOSITORY.fullmatch(repository), "a repository", repository),
            (bool(colon) and not TAG.fullmatch(tag), "a tag", tag),
            (bool(at) and not DIGEST.fullmatch(digest), "a digest (sha256:...)", digest),
        )
        for is_wrong, part, found in wrong:
            if is_wrong:
                rule = "must be oci://REGISTRY/REPOSITORY:TAG, or @DIGEST for :TAG"
                raise malformed(f"{shown(text)}: {rule}; {shown(found)} is not {part}")
        return cls(registry=registry.lower(), repository=repository, tag=tag or ("" if at else LATEST), digest=digest)

    @property
    def wanted(self) -> str:
        """What a manifest is asked for by."""
        return self.digest or self.tag

    @property
    def endpoint(self) -> str:
        """The registry's address: HTTPS, except on this machine."""
        if self.registry == DOCKER_HUB:
            return "https://registry-1.docker.io"
        return f"{'http' if is_this_machine(f'http://{self.registry}') else 'https'}://{self.registry}"

    @property
    def model_id(self) -> str:
        """What the model is called, whichever digest its tag points to."""
        return str(evolve(self, digest="") if self.tag else self)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{SCHEME}{self.registry}/{self.repository}{tag}{'@' if self.digest else ''}{self.digest}"


def _is_registry(text: str) -> bool:
    host = HOST.match(text)
    return host is not None and (host.end() == len(text) or PORT.fullmatch(text, host.end()) is not None)
