"""Requests to one repository of a registry, as somebody it lets in.

Sources: OCI distribution specification v1.1; distribution's token authentication specification (token, OAuth2).
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import httpx
from attrs import define, evolve, field

from inference_server.files.addresses import Policy
from inference_server.files.clock import Clock
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from inference_server.files.oci.credentials import Credentials, Login
from inference_server.files.oci.reference import Reference
from inference_server.files.transport import client
from inference_server.files.web import Answer, Ask, Web, chain, host_of, is_token

PULL: Final = "pull"
PUSH: Final = "pull,push"
_UNAUTHORIZED: Final = frozenset({401, 403})
_PARAMETER: Final = re.compile(r'([A-Za-z_]{1,32})="([^"]{0,2048})"')
_CLIENT_ID: Final = "kaito"
_TOKEN_MAX_LENGTH: Final = 2**16

Response = TypeVar("Response", Answer, httpx.Response)


@define(kw_only=True)
class Session:
    """One repository, one set of credentials, and what is known so far of how it is opened."""

    web: Web
    reference: Reference
    actions: str
    logins: tuple[Login | None, ...]
    base: str
    _login: int = field(init=False, default=0)
    _authorization: str = field(init=False, default="", repr=False)

    def url(self, path: str) -> str:
        """The address of something of the repository."""
        return f"{self.base}/v2/{self.reference.repository}/{path}"

    def ask(self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Ask:
        """A request about the reference."""
        return Ask(url=url, subject=str(self.reference), method=method, headers=headers or {}, denied=self._remedy())

    def read(self, ask: Ask, max_bytes: int) -> Answer:
        """Send a request, as whoever the registry lets in, and read the answer. Raises `FetchError`."""
        return self._admitted(ask, lambda one: self.web.read(one, max_bytes), _status_of_answer)

    def once(self, ask: Ask) -> Answer:
        """The same in a single attempt; raises `Passing` for what another one may mend."""
        return self._admitted(ask, self.web.once, _status_of_answer)

    def open(self, ask: Ask) -> httpx.Response:
        """Send a request, as whoever the registry lets in; the caller reads and closes the response."""
        return self._admitted(ask, self.web.open, _status_of_response)

    def authorized(self, ask: Ask) -> Ask:
        """The request with what opened the registry last."""
        if not self._authorization:
            return ask
        return evolve(ask, headers={**ask.headers, "Authorization": self._authorization})

    def _admitted(self, ask: Ask, send: Callable[[Ask], Response], status_of: Callable[[Response], int]) -> Response:
        answer = send(self.authorized(ask))
        if status_of(answer) not in _UNAUTHORIZED:
            return answer
        challenge = answer.headers.get("WWW-Authenticate", "")
        # The one that opened it so far is first: its token may just have run out.
        for number in range(self._login, len(self.logins)):
            authorization = self._introduced(self.logins[number], challenge)
            if authorization is None or (not authorization and not self._authorization):
                continue
            if isinstance(answer, httpx.Response):
                answer.close()
            self._login, self._authorization = number, authorization
            answer = send(self.authorized(ask))
            if status_of(answer) not in _UNAUTHORIZED:
                return answer
            challenge = answer.headers.get("WWW-Authenticate", "") or challenge
        self._login, self._authorization = 0, ""
        return answer

    def _introduced(self, login: Login | None, challenge: str) -> str | None:
        """The Authorization header of a login; None when the token server does not let it in."""
        if login and login.registry_token:
            return f"Bearer {login.registry_token}"
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "bearer":
            return self._token(login, dict(_PARAMETER.findall(challenge)))
        return _basic(login) if login and login.username else ""

    def _token(self, login: Login | None, parameters: Mapping[str, str]) -> str | None:
        realm = parameters.get("realm", "")
        self._check_realm(realm)
        query = {
            "service": parameters.get("service", ""),
            "scope": f"repository:{self.reference.repository}:{self.actions}",
        }
        answer = self.web.read(self._token_request(realm, query, login))
        if answer.status in {*_UNAUTHORIZED, 400}:
            return None
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        token = _token_of(document)
        if answer.status != 200 or not token:  # noqa: PLR2004
            raise FetchError(
                kind=Kind.CORRUPT,
                subject=str(self.reference),
                found=f"the token server {host_of(realm)} answers {answer.status}, without a token",
            )
        return f"Bearer {token}"

    def _token_request(self, realm: str, query: Mapping[str, str], login: Login | None) -> Ask:
        if login and login.identity_token:
            form = {**query, "grant_type": "refresh_token", "refresh_token": login.identity_token}
            body = urlencode({**form, "client_id": _CLIENT_ID}).encode()
            ask = self.ask(realm, method="POST", headers={"Content-Type": "application/x-www-form-urlencoded"})
            return evolve(ask, content=lambda: [body])
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode({key: text for key, text in query.items() if text})}"
        return self.ask(url, headers={"Authorization": _basic(login)} if login and login.username else {})

    def _check_realm(self, realm: str) -> None:
        """A password goes to the token server, so that one must be asked as safely as the registry is."""
        scheme = _scheme_of(realm)
        if scheme == "https" or (scheme == "http" and self.base.startswith("http:")):
            return
        raise FetchError(
            kind=Kind.UNSAFE,
            subject=str(self.reference),
            found=f"{self.reference.host} gives tokens at {realm[:100]!r}, which is no https address",
            remedy="let the registry name a token server with https",
        )

    def _remedy(self) -> str:
        if self.logins == (None,):
            return f"give a Secret of type kubernetes.io/dockerconfigjson with an entry for {self.reference.registry}"
        may = "push to it" if self.actions == PUSH else "pull it"
        return f"let a user of the given Secrets {may}, or correct the password"


@contextmanager
def opened(
    reference: Reference, credentials: Credentials, actions: str, limits: Limits, clock: Clock
) -> Iterator[Session]:
    """A session with a repository."""
    is_loopback = _is_loopback(reference.host)
    # Registries of one's own are on private networks. A registry that is not this machine cannot send us to it.
    policy = Policy(private=True, loopback=is_loopback)
    try:
        http = client(policy, limits, authorities=credentials.authorities(reference))
    except ssl.SSLError as error:
        raise FetchError(
            kind=Kind.INVALID, subject=str(reference), found=f"the given certificate cannot be used: {error}"
        ) from error
    with http:
        web = Web(client=http, limits=limits, clock=clock)
        base = f"https://{reference.host}"
        if is_loopback and not _speaks_tls(http, base):
            base = f"http://{reference.host}"
        logins = (*credentials.logins(reference), None)
        yield Session(web=web, reference=reference, actions=actions, logins=logins, base=base)


def _speaks_tls(http: httpx.Client, base: str) -> bool:
    """Whether a registry on this machine wants TLS; only there may it do without."""
    try:
        http.head(f"{base}/v2/")
    except httpx.TransportError as error:
        failed = [one for one in chain(error) if isinstance(one, ssl.SSLError)]
        return not failed or any(isinstance(one, ssl.SSLCertVerificationError) for one in failed)
    return True


def _scheme_of(realm: str) -> str:
    """Of an address that a registry names; empty for what is none."""
    try:
        return urlsplit(realm).scheme if "\\" not in realm else ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _basic(login: Login) -> str:
    pair = f"{login.username}:{login.password}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _token_of(document: Any) -> str:
    """The token in a token server's answer; empty when there is none that a header can carry."""
    found = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
    return found if isinstance(found, str) and len(found) <= _TOKEN_MAX_LENGTH and is_token(found) else ""


def _status_of_answer(answer: Answer) -> int:
    return answer.status


def _status_of_response(response: httpx.Response) -> int:
    return response.status_code
