"""The agent's core, without I/O and clock: what is wanted, what is ready and what the engine lists → what to do next.

Level-triggered: nothing is remembered of what the engine was told. An engine that restarted lists no adapters, and so
they are loaded again; one that was told twice is as good as one that was told once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve, frozen

from inference_server import contract
from inference_server.agent.engine import Listing
from inference_server.agent.preparation import Prepared
from inference_server.agent.refusal import AdapterRefusedError, Reason
from inference_server.agent.wanted import WantedAdapter

# How often a source is asked whether it holds something new.
REFRESH_S: Final = 60.0
# After a failure: doubled from the first to the last. What no repetition helps is still looked at, at the last pace.
RETRY_FIRST_S: Final = 2.0
RETRY_LAST_S: Final = 300.0
RETRY_REFUSED_S: Final = 60.0


@frozen(kw_only=True)
class Failure:
    """What went wrong last, for which time in a row, and when it is tried again."""

    refusal: AdapterRefusedError
    attempts: int
    retry_at: float


@frozen(kw_only=True)
class Known:
    """All that is known of one wanted adapter.

    `ready` is the newest content of what is wanted now; `preparing` says that somebody looks for a newer; the two
    failures are of preparing and of loading.
    """

    wanted: WantedAdapter
    ready: Prepared | None = None
    preparing: bool = False
    refresh_at: float = 0.0
    unprepared: Failure | None = None
    unloaded: Failure | None = None


@frozen
class Prepare:
    """Fetch and check it, or see whether it has changed."""

    name: str


@frozen
class Load:
    """Load the folder under this name. `instead_of` is the folder that the engine has under it now."""

    name: str
    path: str
    instead_of: str | None = None


@frozen
class Unload:
    """Take it from the engine."""

    name: str


Action = Prepare | Load | Unload


@frozen(kw_only=True)
class Situation:
    """Everything that decides."""

    known: Mapping[str, Known]
    listing: Listing | None
    cache: str
    # Names that were wanted in a way that cannot be understood: what the engine has under them is left alone.
    unclear: frozenset[str] = frozenset()

    def is_ours(self, path: str) -> bool:
        """Whether a folder of the engine's is one that this agent put there."""
        return path.startswith(f"{self.cache.rstrip('/')}/")

    def is_loaded(self, one: Known) -> bool:
        """Whether the engine serves exactly what is wanted."""
        return self.listing is not None and one.ready is not None and self._listed(one) == one.ready.path

    def is_taken(self, one: Known) -> bool:
        """Whether its name belongs to the base model or to an adapter of somebody else."""
        if self.listing is None:
            return False
        listed = self._listed(one)
        return one.wanted.name in self.listing.base or (listed is not None and not self.is_ours(listed))

    def _listed(self, one: Known) -> str | None:
        return self.listing.adapters.get(one.wanted.name) if self.listing else None


def decide(situation: Situation, now: float) -> list[Action]:
    """What to do now; unloading comes first, as it makes room."""
    known, listing = situation.known, situation.listing
    actions: list[Action] = []
    if listing is not None:
        kept = {*known, *situation.unclear}
        actions += [
            Unload(name) for name, path in listing.adapters.items() if name not in kept and situation.is_ours(path)
        ]
    for name, one in known.items():
        if not one.preparing and now >= due(one):
            actions.append(Prepare(name))
        if _is_to_load(situation, one, now) and one.ready and listing:
            actions.append(Load(name, one.ready.path, listing.adapters.get(name)))
    return actions


def due(one: Known) -> float:
    """When its source is to be looked at."""
    return one.unprepared.retry_at if one.unprepared else one.refresh_at


def _is_to_load(situation: Situation, one: Known, now: float) -> bool:
    if situation.listing is None or not situation.listing.serves_api or one.ready is None:
        return False
    if situation.is_loaded(one) or situation.is_taken(one):
        return False
    return one.unloaded is None or now >= one.unloaded.retry_at


def wanted_again(known: Mapping[str, Known], wanted: Mapping[str, WantedAdapter]) -> dict[str, Known]:
    """What is known, for a list that was read anew: what changed is looked at now, and its failures are forgotten."""
    again = {}
    for name, adapter in wanted.items():
        earlier = known.get(name)
        if earlier is None or earlier.wanted != adapter:
            ready = earlier.ready if earlier and earlier.ready and earlier.ready.holds(adapter) else None
            again[name] = Known(wanted=adapter, ready=ready)
        else:
            again[name] = earlier
    return again


def retried(known: Mapping[str, Known]) -> dict[str, Known]:
    """The same, with every failure to be tried again now: something that may have caused it has changed."""
    return {
        name: evolve(one, unprepared=None, refresh_at=0.0) if one.unprepared else one for name, one in known.items()
    }


def prepared(one: Known, ready: Prepared, now: float) -> Known:
    """After preparing went well."""
    changed = one.ready != ready
    unloaded = None if changed else one.unloaded
    return evolve(one, ready=ready, preparing=False, unprepared=None, unloaded=unloaded, refresh_at=now + REFRESH_S)


def not_prepared(one: Known, refusal: AdapterRefusedError, now: float) -> Known:
    """After it failed. What lies ready from before stays in use while the source cannot be asked."""
    ready = one.ready if refusal.retryable or refusal.reason in (Reason.FETCH_DENIED, Reason.SOURCE_NOT_FOUND) else None
    return evolve(one, ready=ready, preparing=False, unprepared=_failure(one.unprepared, refusal, now))


def not_loaded(one: Known, refusal: AdapterRefusedError, now: float) -> Known:
    """After the engine refused it."""
    return evolve(one, unloaded=_failure(one.unloaded, refusal, now))


def _failure(earlier: Failure | None, refusal: AdapterRefusedError, now: float) -> Failure:
    attempts = earlier.attempts + 1 if earlier else 1
    wait = min(RETRY_LAST_S, RETRY_FIRST_S * 2 ** min(attempts - 1, 20))
    if not refusal.retryable:
        wait = max(wait, RETRY_REFUSED_S)
    return Failure(refusal=refusal, attempts=attempts, retry_at=now + wait)


def state(situation: Situation, one: Known) -> tuple[str, AdapterRefusedError | None]:
    """What the report says of it, with the refusal that explains it.

    A source that cannot be asked any more takes nothing from an adapter that is loaded; other content that was refused
    does, since what is wanted is not what is served.
    """
    if situation.is_taken(one):
        message = f"{one.wanted.name} is already the name of a model here; give the adapter another"
        return contract.STATE_FAILED, AdapterRefusedError(reason=Reason.NAME_TAKEN, message=message)
    if situation.is_loaded(one):
        return contract.STATE_LOADED, one.unprepared.refusal if one.unprepared else None
    failure = one.unprepared if one.ready is None else one.unloaded
    if failure is not None:
        return contract.STATE_FAILED, failure.refusal
    if one.ready is None:
        return (contract.STATE_LOADING if one.preparing else contract.STATE_PENDING), None
    return _state_of_ready(situation)


def _state_of_ready(situation: Situation) -> tuple[str, AdapterRefusedError | None]:
    if situation.listing is None:
        return contract.STATE_PENDING, _waiting("it is ready and waits for the engine")
    if not situation.listing.serves_api:
        return contract.STATE_PENDING, _waiting("it is ready, and rank 0 of the model loads it")
    return contract.STATE_LOADING, None


def _waiting(message: str) -> AdapterRefusedError:
    return AdapterRefusedError(reason=Reason.ENGINE_UNREACHABLE, message=message, retryable=True)
