"""Says in three words what a controller is about, and refuses what could not work before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Self, TypedDict, Unpack

from attrs import define, evolve, field

from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.controller.controller import Controller
from kaito_controller.machinery.controller.feed import Feed
from kaito_controller.machinery.controller.predicates import Predicate
from kaito_controller.machinery.controller.source import Watch, enqueue_owner, enqueue_self
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.queue.ratelimit import RateLimiter
from kaito_controller.machinery.reconcile.request import Reconciler, Request


class BuilderError(Exception):
    """The parts do not make a controller; the message says which part is wrong and what to do."""


class Options(TypedDict, total=False):
    """The keywords of `Controller`, which says what they mean."""

    workers: int
    rate_limiter: RateLimiter[Request] | None
    reconcile_timeout_s: float | None
    sync_timeout_s: float
    recovers: bool
    needs_leader: bool
    warms_up: bool
    unique_name: bool
    rng: Random | None


@define
class Builder:
    """The watches of one controller: `reconciles` one kind, `owns` its children, `watches` what else matters.

    Args:
        name: of the controller; the kind that it reconciles, in lower case, unless given.
    """

    name: str = ""
    _of: Resource | None = field(init=False, default=None)
    _watches: list[Watch | Feed] = field(init=False, factory=list)
    _filters: tuple[Predicate, ...] = field(init=False, default=())

    def reconciles(self, resource: Resource, *predicates: Predicate, label_selector: str = "") -> Self:
        """Ask for a reconcile of each object of this kind that changes.

        Raises:
            BuilderError: there is such a kind already; a controller has one.
        """
        if self._of is not None:
            raise BuilderError(
                f"reconciles({resource.kind}): the controller reconciles {self._of.kind} already, and no request says"
                " of which kind it is; make a second controller"
            )
        self._of = resource
        self._watches.append(Watch(resource, enqueue_self, predicates, label_selector=label_selector))
        return self

    def owns(
        self, resource: Resource, *predicates: Predicate, label_selector: str = "", controllers_only: bool = True
    ) -> Self:
        """Ask for a reconcile of the owner of each object of this kind that changes.

        Args:
            resource: the kind of the owned objects.
            predicates: which of their changes count.
            label_selector: which of them are watched.
            controllers_only: only of the owner that controls the object, not of every owner of the kind.

        Raises:
            BuilderError: `reconciles` has not said yet whose children they are.
        """
        if self._of is None:
            raise BuilderError(f"owns({resource.kind}): owned by which kind? Say reconciles(...) first")
        mapping = enqueue_owner(self._of, controllers_only=controllers_only)
        self._watches.append(Watch(resource, mapping, predicates, label_selector=label_selector))
        return self

    def watches(self, *watches: Watch | Feed) -> Self:
        """Ask for whatever these map their events to."""
        self._watches.extend(watches)
        return self

    def filtered(self, *predicates: Predicate) -> Self:
        """Let only these events through, of every watch, those before this call too; each watch's own come after."""
        self._filters += predicates
        return self

    @property
    def feeds(self) -> Sequence[Watch | Feed]:
        """Every watch as the controller gets it."""
        return [
            evolve(watch, predicates=self._filters + watch.predicates) if isinstance(watch, Watch) else watch
            for watch in self._watches
        ]

    def build(
        self, reconciler: Reconciler, cache: Cache, clock: Clock, metrics: Metrics, **options: Unpack[Options]
    ) -> Controller:
        """Make the controller.

        Raises:
            BuilderError: it would watch nothing, or have no name.
        """
        if not self._watches:
            raise BuilderError("build: there is nothing to watch; say reconciles(...) or watches(...) first")
        name = self.name or ("" if self._of is None else self._of.kind.lower())
        if not name:
            raise BuilderError("build: a controller that reconciles no kind of its own needs a name; say Builder(name)")
        return Controller(name, reconciler, self.feeds, cache, clock, metrics, **options)
