"""Who may read the metrics: what the API server is asked, how long its answers hold, and what refusals say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attrs import define, field

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.server.access import REVIEWS, WAITING, Access, bearer_token
from kaito_controller.machinery.server.metrics_server import MetricsServer
from kaito_controller.testing.clock import VirtualClock, virtual_time

REVIEW, ACCESS = "/apis/authentication.k8s.io/v1/tokenreviews", "/apis/authorization.k8s.io/v1/subjectaccessreviews"
USER = {
    "username": "system:serviceaccount:monitoring:prometheus",
    "uid": "u-1",
    "groups": ["system:serviceaccounts", "system:authenticated"],
    "extra": {"pod": ["p-1"]},
}


@define
class Reviews:
    """An API server that knows some tokens and some rights."""

    clock: VirtualClock
    tokens: dict[str, Object] = field(factory=lambda: {"good": USER})
    allowed: bool = True
    failures: dict[str, list[Exception]] = field(factory=dict)
    hangs: set[str] = field(factory=set)
    asked: list[tuple[float, str, Object]] = field(init=False, factory=list)

    async def request(self, method: str, path: str, *, body: Object, **_: Any) -> Object:
        assert method == "POST"
        self.asked.append((self.clock.monotonic(), path, body["spec"]))
        if path in self.hangs:
            await asyncio.Event().wait()
        if self.failures.get(path):
            raise self.failures[path].pop(0)
        if path == ACCESS:
            return {"status": {"allowed": self.allowed, "reason": "RBAC"}}
        user = self.tokens.get(body["spec"]["token"])
        return {"status": {"authenticated": user is not None, "user": user, "error": "" if user else "invalid token"}}

    def count(self, path: str) -> int:
        return sum(each == path for _, each, _ in self.asked)


async def answer(access: Access, authorization: str = "Bearer good", method: str = "GET") -> tuple[int, str]:
    refusal = await access.refusal(authorization, method, "/metrics")
    return (int(refusal.status), refusal.text) if refusal is not None else (200, "")


@pytest.mark.scenario("MG6")
@virtual_time
async def test_the_api_server_is_asked_who_it_is_and_what_he_may(clock: VirtualClock) -> None:
    """The token's user, with all that the API server told of him, and the verb on the path."""
    reviews = Reviews(clock)
    assert await answer(Access(Client(reviews), clock)) == (200, "")
    assert reviews.asked == [
        (0, REVIEW, {"token": "good"}),
        (
            0,
            ACCESS,
            {
                "user": USER["username"],
                "uid": "u-1",
                "groups": USER["groups"],
                "extra": USER["extra"],
                "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
            },
        ),
    ]


@pytest.mark.scenario("MG6")
@pytest.mark.parametrize("authorization", ["", "Basic Z29vZDpnb29k", "Bearer", "Bearer ", "good", "Bearer bad"])
@virtual_time
async def test_anonymous_and_unknown_readers_are_refused(clock: VirtualClock, authorization: str) -> None:
    """401, with no word about the reason; without a token nobody is even asked."""
    reviews = Reviews(clock)
    assert await answer(Access(Client(reviews), clock), authorization) == (401, "Unauthorized")
    assert reviews.count(REVIEW) == (authorization == "Bearer bad")
    assert reviews.count(ACCESS) == 0


@pytest.mark.scenario("MG6")
@pytest.mark.parametrize("token", [b"\xff", "sésame".encode()])
async def test_a_token_that_is_no_text_is_refused_like_any_other(token: bytes) -> None:
    """401 on the wire, where it was 500 and a traceback in the log for whoever cared to send one byte."""
    reviews = Reviews(VirtualClock())
    access = Access(Client(reviews), reviews.clock)
    server = MetricsServer(host="127.0.0.1", port=0, metrics=Metrics(), access=access)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start())
    writer.write(b"GET /metrics HTTP/1.0\r\nAuthorization: Bearer " + token + b"\r\n\r\n")
    answered = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await server.stop()
    assert answered.split(b"\r\n")[0] == b"HTTP/1.0 401 Unauthorized"
    assert reviews.asked == []


@pytest.mark.scenario("MG6")
@virtual_time
async def test_who_may_not_is_told_his_name(clock: VirtualClock) -> None:
    """403."""
    access = Access(Client(Reviews(clock, allowed=False)), clock)
    assert await answer(access) == (403, f"Authorization denied for user {USER['username']}")


@pytest.mark.scenario("MG6")
@virtual_time
async def test_who_a_token_is_holds_for_a_minute(clock: VirtualClock) -> None:
    """Known or unknown; one that is revoked is out after that."""
    reviews = Reviews(clock)
    access = Access(Client(reviews), clock)
    for token in ("good", "bad"):
        await answer(access, f"Bearer {token}")
    reviews.tokens = {"bad": USER}
    await clock.sleep(59.9)
    assert [(await answer(access, f"Bearer {token}"))[0] for token in ("good", "bad")] == [200, 401]
    assert reviews.count(REVIEW) == 2
    await clock.sleep(0.2)
    assert [(await answer(access, f"Bearer {token}"))[0] for token in ("good", "bad")] == [401, 200]
    assert reviews.count(REVIEW) == 4


@pytest.mark.scenario("MG6")
@pytest.mark.parametrize(("allowed", "holds_s"), [(True, 300), (False, 30)])
@virtual_time
async def test_a_yes_holds_five_minutes_and_a_no_half_of_one(
    clock: VirtualClock, allowed: bool, holds_s: float
) -> None:
    """For the same user, verb and path; another verb is another question."""
    reviews = Reviews(clock, allowed=allowed)
    access = Access(Client(reviews), clock)
    await answer(access)
    await clock.sleep(holds_s - 0.1)
    await answer(access)
    assert reviews.count(ACCESS) == 1
    await answer(access, method="HEAD")
    assert reviews.asked[-1][2]["nonResourceAttributes"]["verb"] == "head"
    await clock.sleep(0.2)
    await answer(access)
    assert reviews.count(ACCESS) == 3


@pytest.mark.scenario("MG6")
@pytest.mark.parametrize(
    ("path", "words"),
    [(REVIEW, "Authentication failed"), (ACCESS, f"Authorization for user {USER['username']} failed")],
)
@virtual_time
async def test_nothing_is_served_on_a_guess(clock: VirtualClock, path: str, words: str) -> None:
    """500 after ten seconds without an answer, and at once for a refusal; neither is remembered."""
    reviews = Reviews(clock, hangs={path})
    access = Access(Client(reviews), clock)
    assert await answer(access) == (500, words)
    assert clock.monotonic() == 10
    reviews.hangs.clear()
    reviews.failures[path] = [ApiError(403, "Forbidden", "tokenreviews is forbidden")]
    assert await answer(access) == (500, words)
    assert clock.monotonic() == 10
    assert await answer(access) == (200, "")


@pytest.mark.scenario("MG6")
@virtual_time
async def test_a_passing_failure_is_tried_again(clock: VirtualClock) -> None:
    """0.5, 0.75, 1.125 s and so on apart, five times; then it is 500."""
    reviews = Reviews(clock)
    reviews.failures[REVIEW] = [ApiConnectionError("reset"), ApiError(503, "ServiceUnavailable"), ApiError(429)]
    access = Access(Client(reviews), clock)
    assert await answer(access) == (200, "")
    assert [at for at, path, _ in reviews.asked if path == REVIEW] == [0, 0.5, 1.25, 2.375]
    reviews.failures[ACCESS] = [ApiError(500, "InternalError")] * 5
    assert (await answer(access, method="HEAD"))[0] == 500
    assert reviews.count(ACCESS) == 1 + 5


@pytest.mark.scenario("MG6")
@virtual_time
async def test_a_flood_of_unknown_tokens_leaves_controllers_their_connections(clock: VirtualClock) -> None:
    """Four reviews at a time; some wait, for ten seconds at most; whoever comes to a full queue is turned away."""
    reviews = Reviews(clock, hangs={REVIEW})
    access = Access(Client(reviews), clock)
    flood = [asyncio.create_task(answer(access, f"Bearer {number}")) for number in range(1000)]
    await clock.sleep(1)
    assert reviews.count(REVIEW) == REVIEWS
    turned_away = [task.result()[0] for task in flood if task.done()]
    assert turned_away == [429] * (1000 - REVIEWS - WAITING)
    assert await answer(access) == (429, "Too many requests wait for a review")
    assert {code for code, _ in await asyncio.gather(*flood)} == {429, 500}
    assert (clock.monotonic(), reviews.count(REVIEW)) == (10, REVIEWS)
    reviews.hangs.clear()
    assert await answer(access) == (200, "")


def test_a_token_is_taken_from_a_bearer_header_alone() -> None:
    """The scheme in any case, the token as it is."""
    assert [bearer_token(text) for text in ("bearer a", "BEARER  b ", "Token c", "d")] == ["a", "b", "", ""]
