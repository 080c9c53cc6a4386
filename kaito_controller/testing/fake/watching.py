"""Opening a watch: where it begins, and what it is told first."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from attrs import field, frozen

from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake import rendering, status
from kaito_controller.testing.fake.reading import NOT_OLDER_THAN, version_of
from kaito_controller.testing.fake.request import Request
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.selectors import Selection, selection
from kaito_controller.testing.fake.status import Cause, RefusalError
from kaito_controller.testing.fake.storage import Collection, Storage
from kaito_controller.testing.fake.watch import Watch

MIN_REQUEST_TIMEOUT_S = 1800
"""A watch that names no timeout lasts this long, times a factor between 1 and 2."""


@frozen(kw_only=True)
class Watching:
    """Opens watches on the storage."""

    clock: Clock
    rng: random.Random
    storage: Storage
    opened: list[Watch] = field(factory=list)

    async def open(self, target: Target, request: Request) -> Watch:
        """A watch from the version that the request names. What cannot be served is told in the stream."""
        selected = selection(target.kind, target.namespace, target.name, request.query)
        check_watch_options(request)
        version = _version(request)
        initial = request.query.get("sendInitialEvents")
        collection = self.storage.collection(target.kind.group_resource)
        new = partial(self._watch, target, selected, rendering.form(request))
        try:
            if initial == "true":
                await self.storage.wait_for(version)
            watch = self._begun(new, selected, collection, version, initial)
        except RefusalError as refusal:
            watch = new(0)
            watch.fail(refusal)
            return watch
        bookmarks = request.query.get("allowWatchBookmarks") in {"true", "1"}
        if initial == "true" and bookmarks:
            watch.send_bookmark(initial_events_end=True)
        watch.open(self._timeout_s(request), bookmarks=bookmarks)
        self.opened[:] = [open_one for open_one in self.opened if not open_one.ended]
        self.opened.append(watch)
        return watch

    def cut(self, group_resource: str = "") -> None:
        """End the watches of a collection, or all of them, without a word."""
        collection = self.storage.collection(group_resource) if group_resource else None
        for watch in list(self.opened):
            if collection is None or watch.collection is collection:
                watch.end()

    def _begun(
        self,
        new: Callable[[int], Watch],
        selected: Selection,
        collection: Collection,
        version: int,
        initial: str | None,
    ) -> Watch:
        """A watch with everything that it has to be told at once."""
        now = self.storage.revision
        if initial == "true" or (not version and initial is None):
            self.storage.read_through(collection)
            watch = new(now)
            for key in collection.keys:
                if selected.matches(collection.objects[key]):
                    watch.send("ADDED", collection.objects[key])
            return watch
        start = version or now
        if start < collection.watched_from:
            raise status.too_old(start, collection.watched_from)
        watch = new(start)
        for change in collection.since(start):
            watch.offer(change)
        return watch

    def _watch(self, target: Target, selected: Selection, form: str, after: int) -> Watch:
        collection = self.storage.collection(target.kind.group_resource)
        return Watch(
            clock=self.clock,
            render=rendering.event_renderer(target.kind, form, self.clock.now),
            resource=target.resource,
            collection=collection,
            selection=selected,
            progress=lambda: self.storage.progress(collection),
            after=after,
        )

    def _timeout_s(self, request: Request) -> float:
        text = request.query.get("timeoutSeconds", "")
        if text and not text.isdigit():
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        return float(text or 0) or MIN_REQUEST_TIMEOUT_S * (1 + self.rng.random())


def _version(request: Request) -> int:
    """As for reads, but that a kube-apiserver has no better word than 500 for what is no number."""
    try:
        return version_of(request)
    except RefusalError as refusal:
        raise status.unexpected(refusal.status["message"]) from refusal


def check_watch_options(request: Request) -> None:
    """Refuse what cannot be combined in a watch."""
    wrong = list(_contradictions(request))
    if wrong:
        raise status.invalid("meta.k8s.io", "ListOptions", "", wrong)


def _contradictions(request: Request) -> Iterator[Cause]:
    match, initial = request.query.get("resourceVersionMatch", ""), request.query.get("sendInitialEvents")
    if initial is not None and match != NOT_OLDER_THAN:
        yield _forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if match and initial is None:
        yield _forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if match and match != NOT_OLDER_THAN:
        yield Cause(
            field="resourceVersionMatch",
            reason="FieldValueNotSupported",
            message=f'Unsupported value: "{match}": supported values: "NotOlderThan"',
        )


def _forbidden(why: str) -> Cause:
    return Cause(field="resourceVersionMatch", reason="FieldValueForbidden", message=f"Forbidden: {why}")
