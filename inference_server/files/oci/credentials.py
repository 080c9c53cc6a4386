"""What opens registries: docker's configuration files, and certificates of authorities beside them."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from attrs import field, frozen

from inference_server import contract
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import DOCUMENT_MAX_BYTES
from inference_server.files.oci.reference import DEFAULT_REGISTRY, Reference
from inference_server.files.web import is_token

_DOCKER_HUB: Final = frozenset({"index.docker.io", "registry-1.docker.io", "docker.io"})
_TOKEN_USER: Final = "<token>"  # noqa: S105 - docker's word for "the password is an identity token"


@frozen(kw_only=True)
class Login:
    """One way into a registry. `repr` holds no secret.

    Attributes:
        username: for basic authentication, here and at the token server.
        password: see above.
        identity_token: an OAuth2 refresh token, given to the token server instead of a password.
        registry_token: a bearer token for the registry itself.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


@frozen(kw_only=True)
class Entry:
    """A login and what it is for: a registry, or a registry and the start of a repository's path."""

    registry: str
    path: str
    login: Login


@frozen(kw_only=True)
class Trust:
    """A PEM bundle of authorities, and the registries it is for: none named, all of them."""

    registries: frozenset[str]
    bundle: str = field(repr=False)


@frozen(kw_only=True)
class Credentials:
    """All of one pull or push."""

    entries: tuple[Entry, ...] = ()
    trusts: tuple[Trust, ...] = ()

    @classmethod
    def anonymous(cls) -> Self:
        """Nothing but what is public."""
        return cls()

    @classmethod
    def of_folders(cls, folders: Sequence[Path]) -> Self:
        """Read mounted Secrets: `.dockerconfigjson`, and optionally `ca.crt`, in each folder; earlier ones win.

        Only `auths` are read: credential helpers are programs, and none is run. A certificate is trusted for the
        registries that its own Secret names. Raises `FetchError` (invalid) for a folder without the file, a broken
        file, or a certificate that is none; the message repeats nothing of what is in it.
        """
        entries: list[Entry] = []
        trusts: list[Trust] = []
        for folder in folders:
            found = _entries(folder / contract.SECRET_DOCKER_CONFIG)
            entries += found
            certificate = folder / contract.SECRET_CERTIFICATE
            if certificate.exists():
                registries = frozenset(entry.registry for entry in found)
                trusts.append(Trust(registries=registries, bundle=_bundle(certificate)))
        return cls(entries=tuple(entries), trusts=tuple(trusts))

    def logins(self, reference: Reference) -> tuple[Login, ...]:
        """What may open the repository: the longest path first; empty when there is nothing for that registry."""
        fitting = [entry for entry in self.entries if _fits(entry, reference)]
        # Sorting keeps the order of equals: the earlier Secret wins.
        return tuple(entry.login for entry in sorted(fitting, key=lambda entry: -len(entry.path)))

    def authorities(self, reference: Reference) -> str:
        """The PEM certificates to trust for the registry, beside those of the system; may be empty."""
        fitting = (one for one in self.trusts if not one.registries or _is_one_of(reference.registry, one.registries))
        return "\n".join(one.bundle for one in fitting)


def _fits(entry: Entry, reference: Reference) -> bool:
    path = f"{reference.repository}/"
    return _is(reference.registry, entry.registry) and (not entry.path or path.startswith(f"{entry.path}/"))


def _is_one_of(registry: str, patterns: Iterable[str]) -> bool:
    return any(_is(registry, pattern) for pattern in patterns)


def _is(registry: str, pattern: str) -> bool:
    """Whether a registry is meant, as the kubelet reads it: `*` in a label stands for anything within that label."""
    ours, theirs = registry.lower().split("."), pattern.lower().split(".")
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(fnmatch.fnmatchcase(label, wanted) for label, wanted in pairs)


def _entries(file: Path) -> list[Entry]:
    text = _text(file)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        # The reason may repeat a part of the file, and any part may be the secret.
        raise _broken(file, "it is not JSON") from None
    auths = document.get("auths", {}) if isinstance(document, dict) else None
    if not isinstance(auths, dict) or not all(isinstance(entry, dict) for entry in auths.values()):
        raise _broken(file, "its auths are no map with an entry for each registry")
    return [
        Entry(registry=registry, path=path, login=login)
        for key, raw in auths.items()
        for registry, path in [_place(key)]
        if (login := _login(raw, file)) is not None
    ]


def _place(key: str) -> tuple[str, str]:
    """The registry and the path of a key: `host`, `host/path`, `https://host/v1/`."""
    schemeless = key.removeprefix("https://").removeprefix("http://")
    host, _, path = schemeless.partition("/")
    path = path.strip("/")
    if path in {"v1", "v2"}:
        path = ""
    return (DEFAULT_REGISTRY if host.lower() in _DOCKER_HUB else host), path


def _login(raw: Mapping[str, Any], file: Path) -> Login | None:
    username, password = _word(raw, "username"), _word(raw, "password")
    identity_token, registry_token = _word(raw, "identitytoken"), _word(raw, "registrytoken").strip()
    if not is_token(registry_token):
        raise _broken(file, "a registrytoken of it has spaces, line ends or letters that no header can carry")
    if pair := _word(raw, "auth"):
        username, password = _pair(pair, file)
    if username == _TOKEN_USER and not identity_token:
        username, password, identity_token = "", "", password
    if not (username or identity_token or registry_token):
        return None
    return Login(username=username, password=password, identity_token=identity_token, registry_token=registry_token)


def _pair(pair: str, file: Path) -> tuple[str, str]:
    try:
        decoded = base64.b64decode(pair, validate=True).decode()
    except (binascii.Error, ValueError):
        raise _broken(file, "an auth of it is not base64") from None
    username, colon, password = decoded.partition(":")
    if not colon:
        raise _broken(file, "an auth of it is not user:password in base64")
    # docker itself ends some passwords with zero bytes.
    return username, password.strip("\0")


def _word(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else ""


def _bundle(file: Path) -> str:
    text = _text(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise _broken(file, "it holds no certificate in PEM") from None
    return text


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            raw = stream.read(DOCUMENT_MAX_BYTES + 1)
        if len(raw) > DOCUMENT_MAX_BYTES:
            raise _broken(file, f"it is larger than {DOCUMENT_MAX_BYTES} bytes")
        return raw.decode()
    except OSError as error:
        raise _broken(file, f"it cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise _broken(file, "it is not text") from None


def _broken(file: Path, found: str) -> FetchError:
    return FetchError(
        kind=Kind.INVALID,
        subject=f"Secret {file.parent.name}, {file.name}",
        found=found,
        remedy="make the Secret with kubectl create secret docker-registry",
    )
