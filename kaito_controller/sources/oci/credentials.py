"""Who we are to a registry, from the JSON that docker login writes and that pull Secrets hold. No helper is run.

A pull Secret may hold the certificate of who signed the registry's, too, as the agent of serving pods takes it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Self

from attrs import field, frozen

from kaito_controller.sources.errors import SourceError, Trouble, malformed
from kaito_controller.sources.json_text import decode_object
from kaito_controller.sources.oci.reference import DOCKER_HUB

LIMIT_BYTES: Final = 2**20
"""What a Secret can hold."""
DOCKER_HUB_KEYS: Final = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")


@frozen
class Trust:
    """Authorities, in PEM, and the hosts of registries that they are for, as in a docker config; none named, all."""

    hosts: frozenset[str]
    authority: str = field(repr=False)

    def covers(self, registry: str) -> bool:
        """Whether they are for a registry."""
        return not self.hosts or any(_is(host, pattern) for host in _names(registry) for pattern in self.hosts)


@frozen
class Credentials:
    """Basic credentials of registries, by host, and the authorities to trust of them."""

    _authorizations: Mapping[str, str] = field(factory=dict, repr=False)
    _trusts: tuple[Trust, ...] = ()

    @classmethod
    def parse(cls, raw: bytes, *, what: str = "docker config", authority: str = "") -> Self:
        """Read a config.json of Docker, or the `.dockerconfigjson` of a Secret; `authority` is for its registries.

        Raises:
            SourceError: it is none; the message repeats nothing of it.
        """
        if len(raw) > LIMIT_BYTES:
            raise malformed(f"{what}: a docker config has at most {LIMIT_BYTES} bytes; found more")
        try:
            auths = decode_object(raw, what=what).get("auths", {})
        except SourceError:
            # The reason may repeat a part of it, and any part may be the secret.
            raise malformed(f"{what}: must be the JSON that docker login writes") from None
        if not isinstance(auths, dict) or not all(isinstance(entry, dict) for entry in auths.values()):
            raise malformed(f"{what}: auths must be an object with an entry for each registry")
        found = ((_host(key), _authorization(entry, f"{what}: auths of a registry")) for key, entry in auths.items())
        opened = {host: authorization for host, authorization in found if authorization}
        trust = Trust(frozenset(_host(key) for key in auths), authority)
        return cls(opened, (trust,) if authority else ())

    def before(self, others: Self) -> Self:
        """These, and of registries that they do not name those of others."""
        authorizations = {**others._authorizations, **self._authorizations}
        return type(self)(authorizations, (*self._trusts, *others._trusts))

    def basic(self, registry: str) -> str:
        """The Authorization header for a registry; empty when it has no entry."""
        return next((self._authorizations[name] for name in _names(registry) if name in self._authorizations), "")

    def authority(self, registry: str) -> str:
        """The certificates to trust of a registry beside the system's, in PEM; empty when there are none."""
        return "\n".join(dict.fromkeys(trust.authority for trust in self._trusts if trust.covers(registry)))


def _names(registry: str) -> list[str]:
    """What a docker config may call a registry."""
    return [_host(key) for key in ((registry, *DOCKER_HUB_KEYS) if registry == DOCKER_HUB else (registry,))]


def _is(host: str, pattern: str) -> bool:
    """Whether a host is meant, as the kubelet reads it: `*` in a label stands for anything within that label."""
    ours, theirs = host.split("."), pattern.split(".")
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(fnmatchcase(label, wanted) for label, wanted in pairs)


def _host(key: str) -> str:
    return key.lower().removeprefix("https://").removeprefix("http://").partition("/")[0]


def _authorization(entry: Mapping[str, Any], what: str) -> str:
    """`Basic ...` of an entry; empty when it has nothing but names of helpers."""
    pair = entry.get("auth")
    if not pair and entry.get("username"):
        text = f"{entry['username']}:{entry.get('password') or ''}"
        pair = base64.b64encode(text.encode()).decode()
    if not pair:
        if entry.get("identitytoken"):
            rule = "a user and a password (auth) are used, an identity token (identitytoken) is not"
            raise SourceError(Trouble.UNSUPPORTED, f"{what}: {rule}: make a pull token of the registry")
        return ""
    try:
        decoded = base64.b64decode(pair if isinstance(pair, str) else "", validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if b":" not in decoded:
        raise malformed(f"{what}: auth must be USER:PASSWORD in base64")
    return f"Basic {pair}"
