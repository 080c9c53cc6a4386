"""Where we may differ from client-go, and why. What is not listed here must be the same; what is must differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from attrs import frozen

from kaito_controller.testing.oracle.outcome import Difference, Line


def _anything(*_: object) -> bool:
    return True


def _no_news(theirs: Sequence[Line], ours: Sequence[Line]) -> bool:
    """Whether ours lacks exactly those updates in which neither version nor UID changed."""
    return [line for line in theirs if line[0] != "updated" or line[2:4] != line[4:6]] == list(ours)


def _no_deletion_of_unknown(theirs: Sequence[Line], ours: Sequence[Line]) -> bool:
    """Whether ours lacks exactly the deletions of objects that the handler was never told of."""
    known: set[Any] = set()
    kept = []
    for line in theirs:
        if line[0] == "deleted" and line[1] not in known:
            continue
        known.add(line[1])
        kept.append(line)
    return kept == list(ours)


def _reports_nobody(theirs: Sequence[str], ours: Sequence[str]) -> bool:
    return sorted(ours) == sorted([*theirs, ""])


@frozen(kw_only=True)
class Allowed:
    """One deviation on purpose: the reference's id, why, and the parts of the scenarios in which it shows."""

    id: str
    reason: str
    where: Mapping[str, tuple[str, ...]]
    explains: Callable[[Any, Any], bool] = _anything

    def covers(self, difference: Difference) -> bool:
        """Whether this difference is the one that is allowed."""
        return difference.part in self.where.get(difference.scenario, ()) and self.explains(
            difference.theirs, difference.ours
        )


_SAME_VERSION = (
    "added-twice",
    "corrupt-object",
    "history-lost",
    "internal-error-in-the-stream",
    "list-gone-then-known",
    "pages",
    "recreated-between-lists",
    "same-versions-again",
    "stream-history-lost",
    "stream-not-supported",
    "stream-recreated",
    "stream-refused-as-gone",
    "undecodable-line",
    "watch-ends-at-once",
    "watch-forbidden",
    "watch-refused-as-gone",
)

_RELEASED = (
    "conflict-at-release",
    "conflict-at-renewal",
    "created-by-another",
    "error-at-first",
    "error-at-renewal",
    "expired",
    "forbidden-at-first",
    "given-up",
    "its-own-from-before",
    "no-lease",
)

ALLOWED: Sequence[Allowed] = (
    Allowed(
        id="SI8",
        reason="An update in which nothing changed goes to handlers that are due for a resync, and to no other. "
        "client-go counts every handler as due until the first look at the clock, which never comes without a resync.",
        where=dict.fromkeys(_SAME_VERSION, ("log of first",)),
        explains=_no_news,
    ),
    Allowed(
        id="SI13",
        reason="The deletion of an object that was never in the store is no news: no handler was told of the object.",
        where={"deleted-unseen": ("log of first",)},
        explains=_no_deletion_of_unknown,
    ),
    Allowed(
        id="RF16",
        reason="An event of unknown type is passed over and its version counts. client-go's reflector would do the "
        "same, but its decoder refuses such a line first, so that everything is listed again.",
        where={"unknown-type": ("requests", "log of first")},
    ),
    Allowed(
        id="RF11",
        reason="A stream that told everything and then ended was no hot loop, so the watch goes on from its version. "
        "client-go forgets what it has just been told, waits, and asks for everything again.",
        where={"stream-ends-with-the-initial-events": ("requests", "log of first")},
    ),
    Allowed(
        id="WL5",
        reason="After three streams without the end of their initial events, we list; client-go asks without bound.",
        where={"stream-never-ends": ("requests",)},
    ),
    Allowed(
        id="RF24",
        reason="A server that sent bookmarks and then stays silent is taken for dead, and watched anew. client-go "
        "relies on the pings of HTTP/2.",
        where={"silence": ("requests", "version")},
    ),
    Allowed(
        id="LE6",
        reason="Giving the lease up is a change of leader too, and is reported: nobody leads now.",
        where=dict.fromkeys(_RELEASED, ("leaders",)),
        explains=_reports_nobody,
    ),
    Allowed(
        id="LE9",
        reason="A leader that sees another one's name stops at once. client-go goes on for the rest of its renew "
        "deadline, and leads again, as if nothing had happened, when the other one's lease runs out before that.",
        where={"taken-over-briefly": ("requests", "leaders")},
    ),
)


def judge(found: Sequence[Difference], played: Collection[str]) -> tuple[list[Difference], list[str]]:
    """The differences that nothing allows, and the allowances (`id scenario part`) for `played` that nothing needed."""
    unexplained = [each for each in found if not any(allowed.covers(each) for allowed in ALLOWED)]
    met = {(each.scenario, each.part) for each in found}
    unneeded = [
        f"{allowed.id} {scenario} {part}"
        for allowed in ALLOWED
        for scenario, parts in allowed.where.items()
        for part in parts
        if scenario in played and (scenario, part) not in met
    ]
    return unexplained, unneeded
