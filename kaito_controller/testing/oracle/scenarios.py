"""The plays of the informer oracle: lists, watches and streams of everything, and how each of them breaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve

from kaito_controller.testing.oracle.script import (
    TOO_LARGE,
    Action,
    Drop,
    Either,
    Gate,
    HandlerOption,
    Pause,
    Scenario,
    added,
    bookmark,
    event,
    final,
    initial_events_end,
    listing,
    made,
    refusal,
    status,
    watch,
)

A5, B6, C7 = made("a", 5, team="red"), made("b", 6, team="red"), made("c", 7, team="blue")
FIRST = listing(10, A5, B6)
ALONE = evolve(FIRST, headers=(("Connection", "close"),))
"""On a connection of its own: what breaks next breaks on a fresh one, which no HTTP library tries again by itself."""
GONE: Final = status(410, "Expired", "too old resource version: 5 (10)")

LISTS: Sequence[Scenario] = (
    Scenario(
        name="list-then-watch",
        proves=("RF1", "RF7", "RF9", "RF17", "SI13"),
        answers=(
            FIRST,
            final(
                added(C7),
                event("MODIFIED", made("a", 12, team="blue")),
                event("DELETED", made("b", 13, team="red")),
                bookmark(20),
                added(made("b", 21)),
            ),
        ),
    ),
    Scenario(name="nothing-there", proves=("RF1", "FQ6"), answers=(listing(3), final(added(made("a", 4))))),
    Scenario(
        name="pages",
        proves=("RF2", "RF3"),
        answers=(
            listing(10, A5, then="p2"),
            listing(11, B6, then="p3"),
            listing(12, C7),
            watch(event("ERROR", GONE)),
            listing(30, A5, then="p2"),
            listing(30, B6),
            final(),
        ),
    ),
    Scenario(
        name="page-expired",
        proves=("RF4",),
        answers=(listing(10, A5, then="p2"), refusal(410, "Expired"), listing(11, A5, B6), final()),
    ),
    Scenario(name="list-gone", proves=("RF5",), answers=(refusal(410, "Expired"), FIRST, final())),
    Scenario(
        name="list-gone-then-known",
        proves=("RF5",),
        answers=(refusal(410, "Expired"), FIRST, watch(event("ERROR", GONE)), listing(20, A5), final()),
    ),
    Scenario(
        name="list-too-large",
        proves=("RF5", "RF6"),
        answers=(refusal(504, "Timeout", "Too large resource version: 9, current: 5", **TOO_LARGE), FIRST, final()),
    ),
    Scenario(
        name="list-too-large-by-its-words",
        proves=("RF6",),
        answers=(
            refusal(504, "Timeout", "Too large resource version: 9, current: 5", kind="configmaps"),
            FIRST,
            final(),
        ),
    ),
    Scenario(
        name="list-asks-to-wait",
        proves=("RC2",),
        answers=(refusal(429, "TooManyRequests", retryAfterSeconds=1), FIRST, final()),
    ),
    Scenario(name="list-fails", proves=("RF8", "RF19"), answers=(refusal(500, "InternalError"), FIRST, final())),
    Scenario(name="list-forbidden", proves=("RF8",), answers=(refusal(403, "Forbidden"), FIRST, final())),
    Scenario(name="list-is-cut-off", proves=("RF8",), answers=(Drop(), FIRST, final())),
    Scenario(
        name="watch-ends",
        proves=("RF10",),
        answers=(FIRST, watch(added(C7)), watch(event("MODIFIED", made("c", 12))), final()),
    ),
    Scenario(name="bookmark-moves-on", proves=("RF17",), answers=(FIRST, watch(bookmark(50)), final())),
    Scenario(name="watch-ends-at-once", proves=("RF11",), answers=(FIRST, watch(), FIRST, final())),
    Scenario(
        name="history-lost",
        proves=("RF14", "FQ2"),
        answers=(FIRST, watch(added(C7), event("ERROR", GONE)), listing(20, made("b", 15), C7), final()),
    ),
    Scenario(
        name="several-vanish",
        proves=("FQ2", "ST5"),
        answers=(listing(10, A5, B6, C7), watch(event("ERROR", GONE)), listing(20, made("d", 15)), final()),
    ),
    Scenario(
        name="watch-refused-as-gone",
        proves=("RF13",),
        answers=(FIRST, refusal(410, "Expired"), listing(20, B6), final()),
    ),
    Scenario(name="watch-refused-as-busy", proves=("RF12",), answers=(FIRST, refusal(429, "TooManyRequests"), final())),
    Scenario(name="watch-forbidden", proves=("RF13",), answers=(FIRST, refusal(403, "Forbidden"), FIRST, final())),
    Scenario(
        name="watch-is-cut-off",
        proves=("RF13",),
        answers=(ALONE, Drop(), Either(listing=FIRST, watch=final()), final()),
    ),
    Scenario(
        name="busy-in-the-stream",
        proves=("RF14",),
        answers=(FIRST, watch(added(C7), event("ERROR", status(429, "TooManyRequests"))), final()),
    ),
    Scenario(
        name="internal-error-in-the-stream",
        proves=("RF14",),
        answers=(FIRST, watch(event("ERROR", status(500, "InternalError"))), listing(20, A5), final()),
    ),
    Scenario(
        name="corrupt-object",
        proves=("RF14",),
        answers=(FIRST, watch(event("ERROR", status(500, "StoreReadError"))), listing(20, B6), final()),
    ),
    Scenario(
        name="undecodable-line",
        proves=("RF15",),
        answers=(FIRST, watch(added(C7), b"<html>502</html>\n"), listing(20, A5, B6, C7), final()),
    ),
    Scenario(
        name="cut-within-a-line",
        proves=("RF15",),
        answers=(FIRST, watch(added(C7), event("MODIFIED", made("a", 12))[:60], end="cut"), final()),
    ),
    Scenario(
        name="foreign-kind",
        proves=("RF16",),
        answers=(FIRST, watch(event("ADDED", {**made("s", 30), "kind": "Secret", "data": {}}), added(C7)), final()),
    ),
    Scenario(
        name="unknown-type",
        proves=("RF16",),
        answers=(
            FIRST,
            watch(added(C7), event("SURPRISE", made("a", 31))),
            Either(listing=listing(40, A5, B6, C7), watch=final()),
            final(),
        ),
    ),
    Scenario(
        name="recreated-between-lists",
        proves=("SI10",),
        answers=(FIRST, watch(event("ERROR", GONE)), listing(20, made("a", 15, uid="uid-second"), B6), final()),
    ),
    Scenario(
        name="recreated-in-the-stream",
        proves=("SI10", "SI13"),
        answers=(FIRST, final(event("DELETED", made("a", 12)), added(made("a", 13, uid="uid-second")))),
    ),
    Scenario(
        name="same-versions-again",
        proves=("SI8",),
        answers=(FIRST, watch(event("ERROR", GONE)), listing(20, A5, B6), final()),
    ),
    Scenario(
        name="deleted-unseen",
        proves=("FQ3",),
        answers=(FIRST, final(event("DELETED", made("z", 12)), event("MODIFIED", made("y", 13)))),
    ),
    Scenario(
        name="added-twice",
        proves=("FQ1", "SI8"),
        answers=(FIRST, final(added(A5), added(made("a", 12)), event("MODIFIED", made("a", 12)))),
    ),
    Scenario(
        name="index-follows",
        proves=("ST2", "ST4"),
        answers=(
            listing(10, A5, B6, C7),
            final(
                event("MODIFIED", made("a", 11, team="blue")),
                event("MODIFIED", made("b", 12)),
                event("DELETED", made("c", 13, team="blue")),
                added(made("d", 14, team="green")),
            ),
        ),
    ),
    Scenario(
        name="split-anywhere",
        proves=("RF15",),
        answers=(
            FIRST,
            final(
                *(bytes([each]) for each in event("ADDED", made("ü", 11, text="größer 漢字"))),
                added(C7) + event("MODIFIED", made("a", 12)),
            ),
        ),
    ),
    Scenario(
        name="late-handler",
        proves=("SI2", "SI4"),
        handlers=(HandlerOption(name="first"), HandlerOption(name="late", late=True)),
        actions=(Action(after="default/c@7", do="add", handler="late", gate="added"),),
        answers=(FIRST, final(added(C7), Gate(name="added"), event("MODIFIED", made("a", 12)), added(made("d", 13)))),
    ),
    Scenario(
        name="two-handlers-one-leaves",
        proves=("SI4", "SI5"),
        handlers=(HandlerOption(name="first"), HandlerOption(name="leaving")),
        actions=(Action(after="default/c@7", do="remove", handler="leaving", gate="removed"),),
        answers=(listing(10, A5), final(Pause(seconds=0.2), added(C7), Gate(name="removed"), added(made("d", 13)))),
    ),
    Scenario(
        name="resync",
        proves=("SI8", "SI9"),
        handlers=(HandlerOption(name="first"), HandlerOption(name="resynced", resync_s=1.0)),
        answers=(FIRST, final(Pause(seconds=1.6))),
    ),
    Scenario(
        name="handler-fails",
        proves=("SI7",),
        handlers=(HandlerOption(name="first", fails_on="default/a"), HandlerOption(name="other")),
        answers=(FIRST, final(event("MODIFIED", made("a", 12)), added(C7))),
    ),
    Scenario(
        name="silence",
        proves=("RF24",),
        answers=(FIRST, final(bookmark(20), Pause(seconds=4), version=998), final()),
    ),
)

_ALL = added(B6, A5)
_END = initial_events_end(10)

_STREAMS = (
    Scenario(
        name="stream",
        proves=("WL1", "WL3"),
        answers=(final(_ALL, _END, added(C7), event("DELETED", made("a", 12)), bookmark(13)),),
    ),
    Scenario(name="stream-of-nothing", proves=("WL3", "FQ6"), answers=(final(initial_events_end(3)),)),
    Scenario(
        name="changes-before-the-end",
        proves=("WL2",),
        answers=(
            final(_ALL, event("MODIFIED", made("a", 11)), event("DELETED", made("b", 12)), initial_events_end(12)),
        ),
    ),
    Scenario(
        name="stream-refused-as-gone",
        proves=("WL4",),
        answers=(
            watch(_ALL, _END, added(C7), event("ERROR", GONE)),
            refusal(410, "Expired"),
            final(_ALL, initial_events_end(30)),
        ),
    ),
    Scenario(
        name="stream-too-large",
        proves=("WL4",),
        answers=(
            refusal(504, "Timeout", "Too large resource version: 9, current: 5", **TOO_LARGE),
            final(_ALL, initial_events_end(30)),
        ),
    ),
    Scenario(
        name="stream-refused-as-busy", proves=("WL4",), answers=(refusal(429, "TooManyRequests"), final(_ALL, _END))
    ),
    Scenario(
        name="stream-not-supported",
        proves=("WL4",),
        answers=(
            refusal(422, "Invalid", "sendInitialEvents is forbidden for watch"),
            FIRST,
            watch(added(C7), event("ERROR", GONE)),
            final(_ALL, initial_events_end(30)),
        ),
    ),
    Scenario(name="stream-forbidden", proves=("WL4", "RF8"), answers=(refusal(403, "Forbidden"), FIRST, final())),
    Scenario(
        name="stream-breaks-off",
        proves=("WL5",),
        answers=(watch(added(A5)), watch(added(B6), end="cut"), final(_ALL, _END)),
    ),
    Scenario(
        name="stream-never-ends",
        proves=("WL5",),
        answers=(
            watch(added(A5)),
            watch(added(A5)),
            watch(added(A5)),
            Either(listing=FIRST, watch=final(), watch_list=watch(added(A5))),
            Either(listing=FIRST, watch=final(), watch_list=final(_ALL, _END)),
        ),
    ),
    Scenario(
        name="stream-of-an-old-server",
        proves=("WL5", "WL7"),
        answers=(watch(added(A5), bookmark(8)), final(_ALL, _END)),
    ),
    Scenario(
        name="stream-internal-error",
        proves=("WL4", "RF14"),
        answers=(
            watch(added(A5), event("ERROR", status(500, "InternalError"))),
            Either(listing=FIRST, watch=final(), watch_list=final(_ALL, _END)),
            final(),
        ),
    ),
    Scenario(
        name="stream-history-lost",
        proves=("WL1", "WL4", "RF14"),
        answers=(
            watch(_ALL, _END, bookmark(11)),
            watch(added(C7), event("ERROR", GONE)),
            final(added(made("b", 15), C7), initial_events_end(30)),
        ),
    ),
    Scenario(
        name="stream-ends-with-the-initial-events",
        proves=("RF11", "WL3"),
        answers=(watch(_ALL, _END), Either(listing=FIRST, watch=final(), watch_list=final(_ALL, _END))),
    ),
    Scenario(
        name="stream-410-before-the-end",
        proves=("WL4",),
        answers=(
            watch(added(A5), event("ERROR", GONE)),
            Either(listing=FIRST, watch=final(), watch_list=final(_ALL, _END)),
            final(),
        ),
    ),
    Scenario(
        name="stream-recreated",
        proves=("SI10", "WL3"),
        answers=(
            watch(_ALL, _END, added(C7), event("ERROR", status(500, "StoreReadError"))),
            final(added(B6, made("a", 15, uid="uid-second")), initial_events_end(30)),
        ),
    ),
    Scenario(
        name="stream-undecodable",
        proves=("RF15",),
        answers=(
            watch(added(A5), b"<html>502</html>\n"),
            Either(listing=FIRST, watch=final(), watch_list=final(_ALL, _END)),
            final(),
        ),
    ),
    Scenario(
        name="stream-foreign-kind",
        proves=("RF16",),
        answers=(final(added(A5), event("ADDED", {**made("s", 30), "kind": "Secret", "data": {}}), _END),),
    ),
    Scenario(
        name="stream-late-handler",
        proves=("SI2", "WL3"),
        handlers=(HandlerOption(name="first"), HandlerOption(name="late", late=True)),
        actions=(Action(after="default/c@7", do="add", handler="late", gate="added"),),
        answers=(final(_ALL, _END, added(C7), Gate(name="added"), event("MODIFIED", made("a", 12))),),
    ),
)
STREAMS: Sequence[Scenario] = tuple(evolve(each, watch_list=True) for each in _STREAMS)
