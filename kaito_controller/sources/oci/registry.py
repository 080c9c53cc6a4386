"""Asks a registry for manifests and blobs, as somebody it lets in.

Sources: opencontainers/distribution-spec (spec.md); distribution/distribution, docs/content/spec/auth/token.md.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from attrs import define, field

from kaito_controller.sources.errors import SourceError, Trouble, malformed
from kaito_controller.sources.json_text import decode_object
from kaito_controller.sources.oci.credentials import Credentials
from kaito_controller.sources.oci.manifest import ACCEPT, LIMIT_BYTES
from kaito_controller.sources.oci.reference import OciReference
from kaito_controller.sources.token import Token
from kaito_controller.sources.web import Answer, Ask, Span, Web, host_of, origin, refuse_open_secret

CLUSTER_ENDS: Final = (".local", ".internal", ".svc")
TOKEN_LIMIT_BYTES: Final = 2**16
PARAMETER: Final = re.compile(r'([A-Za-z_]{1,32})="([^"]{0,2048})"')


@define
class Registry:
    """One repository of a registry, read with one set of credentials."""

    web: Web
    reference: OciReference
    credentials: Credentials
    _authorization: str = field(init=False, default="", repr=False)
    _asking: asyncio.Lock = field(init=False, factory=asyncio.Lock)

    @property
    def _endpoint(self) -> str:
        """Whoever brings certificates for a registry speaks TLS to it, on this machine too."""
        _, _, place = self.reference.endpoint.partition("://")
        return f"https://{place}" if self._authority else self.reference.endpoint

    @property
    def _authority(self) -> str:
        return self.credentials.authority(self.reference.registry)

    async def manifest(self, wanted: str) -> Answer:
        """A manifest or an index, by tag or digest. Raises SourceError."""
        return await self._get(f"manifests/{wanted}", f"{self.reference}", LIMIT_BYTES, ACCEPT, None)

    async def blob(self, digest: str, what: str, limit_bytes: int, span: Span | None = None) -> bytes:
        """A blob, or a part of it. Raises SourceError."""
        return (await self._get(f"blobs/{digest}", what, limit_bytes, "*/*", span)).body

    async def _get(self, path: str, what: str, limit_bytes: int, accept: str, span: Span | None) -> Answer:
        url = f"{self._endpoint}/v2/{self.reference.repository}/{path}"

        def ask(authorization: str) -> Ask:
            return Ask(
                url=url,
                what=what,
                limit_bytes=limit_bytes,
                accept=accept,
                authorization=authorization,
                authority=self._authority,
                span=span,
            )

        used = self._authorization
        answer = await self.web.get(ask(used))
        if answer.status == HTTPStatus.UNAUTHORIZED:
            answer = await self.web.get(ask(await self._introduced(answer, used, what)))
        if answer.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return answer
        raise self._refusal(answer.status, what)

    async def _introduced(self, refusal: Answer, used: str, what: str) -> str:
        """The authorization that a refused request is sent again with; one of many such requests gets it for all."""
        async with self._asking:
            if self._authorization == used:
                self._authorization = await self._authorized(refusal.headers.get("www-authenticate", ""), what)
            return self._authorization

    async def _authorized(self, challenge: str, what: str) -> str:
        basic = self.credentials.basic(self.reference.registry)
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "bearer":
            return await self._token(dict(PARAMETER.findall(challenge)), basic, what)
        if basic:
            refuse_open_secret(what, self._endpoint)
            return basic
        raise self._refusal(HTTPStatus.UNAUTHORIZED, what)

    async def _token(self, parameters: Mapping[str, str], basic: str, what: str) -> str:
        realm = parameters.get("realm", "")
        try:
            scheme, _, _ = origin(realm)
        except ValueError:
            raise malformed(f"{what}: {self.reference.registry} must say where tokens are given (realm)") from None
        if scheme == "http" and self._endpoint.startswith("https:"):
            raise malformed(f"{what}: {self.reference.registry} must give tokens over HTTPS; it names an HTTP address")
        if not is_neighbour(host_of(realm), host_of(self._endpoint)):
            rule = f"{self.reference.registry} must give its tokens itself, or its own domain must"
            raise SourceError(Trouble.DENIED, f"{what}: {rule}; it names {host_of(realm)}")
        if basic:
            refuse_open_secret(what, realm)
        query = {"service": parameters.get("service", ""), "scope": f"repository:{self.reference.repository}:pull"}
        url = realm + ("&" if "?" in realm else "?") + urlencode({key: text for key, text in query.items() if text})
        answer = await self.web.get(
            Ask(
                url=url,
                what=f"{what}, token",
                limit_bytes=TOKEN_LIMIT_BYTES,
                authorization=basic,
                authority=self._authority,
            )
        )
        if answer.status != HTTPStatus.OK:
            raise self._refusal(HTTPStatus.UNAUTHORIZED, what)
        try:
            given = decode_object(answer.body, what=f"{what}, token")
        except SourceError:
            # The reason may repeat a part of it, and any part may be the token.
            raise malformed(f"{what}: {self.reference.registry} must give tokens as JSON; it does not") from None
        text = given.get("token") or given.get("access_token")
        return f"Bearer {Token.parse(text if isinstance(text, str) else '', what=f'{what}, token').value}"

    def _refusal(self, status: int, what: str) -> SourceError:
        host, known = host_of(self._endpoint), bool(self.credentials.basic(self.reference.registry))
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            remedy = "its user must be allowed to pull it" if known else "give a docker config with an entry for it"
            return SourceError(Trouble.DENIED, f"{what}: {host} does not let it be read ({status}): {remedy}")
        if status == HTTPStatus.NOT_FOUND:
            return SourceError(Trouble.MISSING, f"{what}: {host} has no such artifact: check name, tag and digest")
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return malformed(f"{what}: a layer must be as long as its manifest says; {host} has less of it")
        return malformed(f"{what}: {host} must answer as a registry does; it answers {status}")


def is_neighbour(one: str, other: str) -> bool:
    """Whether two hosts are of one public domain, or the same but for the port.

    What a token's giver answers is sent on to the registry. So a registry must not make us ask a service of somebody
    else, such as one in our own cluster, and hand over its answer.
    """
    one, other = (re.sub(r":\d+$", "", host).rstrip(".").lower() for host in (one, other))
    if one == other:
        return True
    is_private = one.endswith(CLUSTER_ENDS) or re.fullmatch(r"[0-9.:]+", one) is not None
    ends = [host.split(".")[-2:] for host in (one, other)]
    return not is_private and len(ends[0]) > 1 and ends[0] == ends[1]
