"""What opens registries: docker's configuration files, and certificates of authorities beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from attrs import field, frozen

from inference_server.files.oci.reference import Reference


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

        Only `auths` are read: credential helpers are programs, and none is run. Raises `FetchError` (invalid) for a
        folder without the file, a broken file, or a certificate that is none.
        """
        raise NotImplementedError

    def logins(self, reference: Reference) -> tuple[Login, ...]:
        """What may open the repository: the longest path first; empty when there is nothing for that registry."""
        raise NotImplementedError

    def authorities(self, reference: Reference) -> str:
        """The PEM certificates to trust for the registry, beside those of the system; may be empty."""
        raise NotImplementedError
