"""Who may read what we serve: the API server is asked, as its own endpoints are guarded (MG6).

A bearer token is looked up with a TokenReview, and what its user may do with a SubjectAccessReview on the path. The
times are those of controller-runtime's filter for metrics: ten seconds for a lookup, which holds for a minute; a yes
holds for five minutes, a no for thirty seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from attrs import define, field, frozen

from kaito_controller.kube.core import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_too_many_requests
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.recent import Recent

REVIEW_S: Final = 10.0
TOKEN_S: Final = 60.0
ALLOWED_S: Final = 300.0
DENIED_S: Final = 30.0
# The pauses of client-go's review webhooks: 0.5 s, then each half as long again; five tries.
TRIES: Final = 5
RETRY_S: Final = 0.5
RETRY_FACTOR: Final = 1.5
LIMIT: Final = 1024
REVIEWS: Final = 4
WAITING: Final = 32
"""Reviews under way at a time, and those that may wait for their turn. Anybody may send tokens that nobody knows, and
the connections to the API server are those of the controllers, too."""

log = logger(__name__)

K = TypeVar("K")
V = TypeVar("V")


@frozen(kw_only=True)
class User:
    """Whose token it is, as the API server says."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@frozen
class Refusal:
    """What a request is answered that may not be served: the status and its words, which name no reason."""

    status: HTTPStatus
    text: str


class CrowdedError(Exception):
    """So many reviews wait already that one more is not even begun."""


class _Answers(Generic[K, V]):
    """What the API server said, for as long as it holds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: Recent[K, tuple[V, float]] = Recent(LIMIT)

    async def get(self, key: K, ask: Callable[[], Awaitable[V]], holds_s: Callable[[V], float]) -> V:
        known = self._known.get(key)
        if known is not None and self._clock.monotonic() < known[1]:
            return known[0]
        answer = await ask()
        self._known.put(key, (answer, self._clock.monotonic() + holds_s(answer)))
        return answer


@define
class Access:
    """Decides on requests, by their Authorization header, method and path."""

    client: Client
    clock: Clock
    _users: _Answers[str, User | None] = field(init=False)
    _decisions: _Answers[tuple[User, str, str], bool] = field(init=False)
    _turns: asyncio.Semaphore = field(init=False, factory=lambda: asyncio.Semaphore(REVIEWS))
    _asking: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._users, self._decisions = _Answers(self.clock), _Answers(self.clock)

    async def refusal(self, authorization: str, method: str, path: str) -> Refusal | None:
        """What to answer instead of the real thing; None when the request may be served.

        401 without a token that the API server knows, 403 when its user may not, 500 when the API server cannot be
        asked: nothing is served on a guess. 429 when too many others wait for that.
        """
        token = bearer_token(authorization)
        if not token:
            return Refusal(HTTPStatus.UNAUTHORIZED, "Unauthorized")
        try:
            return await self._decision(token, method, path)
        except CrowdedError:
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests wait for a review")

    async def _decision(self, token: str, method: str, path: str) -> Refusal | None:
        try:
            user = await self._user(token)
        except (ApiError, ApiConnectionError, TimeoutError) as error:
            log.warning("token not reviewed", error=str(error) or "no answer in time")
            return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "Authentication failed")
        if user is None:
            return Refusal(HTTPStatus.UNAUTHORIZED, "Unauthorized")
        try:
            allowed = await self._allows(user, method.lower(), path)
        except (ApiError, ApiConnectionError, TimeoutError) as error:
            log.warning("access not reviewed", user=user.name, error=str(error) or "no answer in time")
            return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"Authorization for user {user.name} failed")
        return None if allowed else Refusal(HTTPStatus.FORBIDDEN, f"Authorization denied for user {user.name}")

    async def _user(self, token: str) -> User | None:
        # The token itself is not kept: what is in memory may end up in a core file.
        key = hashlib.sha256(token.encode()).hexdigest()
        return await self._users.get(key, lambda: self._review_token(token), lambda _: TOKEN_S)

    async def _allows(self, user: User, verb: str, path: str) -> bool:
        return await self._decisions.get(
            (user, verb, path),
            lambda: self._review_access(user, verb, path),
            lambda allowed: ALLOWED_S if allowed else DENIED_S,
        )

    async def _review_token(self, token: str) -> User | None:
        status = await self._review(TOKEN_REVIEWS, {"token": token})
        if not status.get("authenticated"):
            log.debug("token refused", error=status.get("error"))
            return None
        found: Mapping[str, Any] = status.get("user") or {}
        extra = ((name, tuple(values)) for name, values in sorted((found.get("extra") or {}).items()))
        return User(
            name=str(found.get("username") or ""),
            uid=str(found.get("uid") or ""),
            groups=tuple(found.get("groups") or ()),
            extra=tuple(extra),
        )

    async def _review_access(self, user: User, verb: str, path: str) -> bool:
        spec: Object = {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {name: list(values) for name, values in user.extra},
            "nonResourceAttributes": {"path": path, "verb": verb},
        }
        status = await self._review(SUBJECT_ACCESS_REVIEWS, spec)
        if not status.get("allowed"):
            log.debug("access denied", user=user.name, verb=verb, path=path, reason=status.get("reason"))
        return bool(status.get("allowed")) and not status.get("denied")

    async def _review(self, resource: Resource, spec: Object) -> Mapping[str, Any]:
        """Ask the API server, again and again for ten seconds when it cannot answer."""
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "spec": spec}
        async with asyncio.timeout(REVIEW_S):
            for attempt in range(TRIES - 1):
                try:
                    return await self._ask(resource, body)
                except (ApiError, ApiConnectionError) as error:
                    if not _may_pass(error):
                        raise
                await self.clock.sleep(RETRY_S * RETRY_FACTOR**attempt)
            return await self._ask(resource, body)

    async def _ask(self, resource: Resource, body: Object) -> Mapping[str, Any]:
        if self._asking >= REVIEWS + WAITING:
            raise CrowdedError
        self._asking += 1
        try:
            async with self._turns:
                return _status(await self.client.create(resource, body))
        finally:
            self._asking -= 1


def bearer_token(authorization: str) -> str:
    """The token of an Authorization header; empty when it holds none, or one of other than ASCII characters."""
    scheme, _, token = authorization.strip().partition(" ")
    # aiohttp passes bytes on that are no text; none of them is in a token (RFC 6750), and no review could name them.
    return token.strip() if scheme.lower() == "bearer" and token.isascii() else ""


def _status(review: Object) -> Mapping[str, Any]:
    return review.get("status") or {}


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ApiError):
        return error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or is_too_many_requests(error)
    return True
