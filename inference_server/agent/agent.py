"""The loop around the core: reads the list, asks the engine, and does what `decisions.decide` says."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from attrs import define, evolve, field

from inference_server.agent import decisions, report, wanted
from inference_server.agent.decisions import Known, Load, Prepare, Situation, Unload
from inference_server.agent.engine import EngineUnreachableError, Listing
from inference_server.agent.metrics import Metrics
from inference_server.agent.preparation import Prepared, Preparing, describe
from inference_server.agent.refusal import AdapterRefusedError
from inference_server.refusal import InputError

# Between two looks at the list and at the engine.
STEP_S: Final = 1.0
# Between two looks at an engine that serves all that is wanted: only a restart of it is to be found.
SETTLED_S: Final = 3.0
# Loads in one step, after which the report is told anew.
LOADS_PER_STEP: Final = 8
# After this a step begins nothing more with the engine, however slow that is.
ACT_S: Final = 60.0
# How long a folder that nothing names is kept: requests that began with it read it again when the engine had put it
# out of its memory, and vLLM ends when it then finds no file.
UNUSED_S: Final = 900.0


class EngineApi(Protocol):
    """What is asked of the engine."""

    def listing(self) -> Listing:
        """What it serves. Raises EngineUnreachableError."""
        ...

    def load(self, name: str, folder: str) -> None:
        """Raises AdapterRefusedError or EngineUnreachableError."""
        ...

    def unload(self, name: str) -> None:
        """As above."""
        ...


@define(kw_only=True)
class Agent:
    """Everything that runs in one thread; `submit` runs what it is given elsewhere, and `wake` ends the wait for it.

    `clock` gives seconds that never go back.
    """

    engine: EngineApi
    preparing: Preparing
    cache: str
    read_wanted: Callable[[], bytes | None]
    read_secrets: Callable[[], str]
    submit: Callable[[Callable[[], None]], object]
    clock: Callable[[], float]
    wake: Callable[[], None] = lambda: None
    metrics: Metrics = field(factory=Metrics)
    known: dict[str, Known] = field(factory=dict, init=False)
    told: dict[str, Any] = field(init=False)
    _text: bytes | None = field(default=None, init=False)
    _secrets: str | None = field(default=None, init=False)
    _refused: Mapping[str, InputError] = field(factory=dict, init=False)
    _problem: str = field(default="the list of wanted adapters has not been read yet", init=False)
    _outcomes: queue.SimpleQueue[tuple[Known, Prepared | AdapterRefusedError]] = field(
        factory=queue.SimpleQueue, init=False
    )
    _unused_since: dict[str, float] = field(factory=dict, init=False)
    _listed: Listing | None = field(default=None, init=False)
    _listed_at: float = field(default=0.0, init=False)
    _engine_problem: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.told = report.compose(self._situation(None), {}, self._problem)

    def step(self) -> None:
        """One round. Raises nothing that an adapter, a list or the engine may cause."""
        self._take_outcomes()
        self._read_list()
        self._read_secrets()
        situation = self._seen()
        if self._text is not None:
            situation = self._act(situation)
            self._tidy(situation)
        self._tell(situation)

    def _situation(self, listing: Listing | None) -> Situation:
        return Situation(known=dict(self.known), listing=listing, cache=self.cache, unclear=frozenset(self._refused))

    def _seen(self) -> Situation:
        """The situation by a listing that is at most SETTLED_S old when it says that all is well, else by a new one."""
        last = self._situation(self._listed)
        if self.clock() - self._listed_at < SETTLED_S and self._is_settled(last):
            return last
        return self._situation(self._listing())

    def _is_settled(self, situation: Situation) -> bool:
        listing = situation.listing
        if listing is None or not all(situation.is_loaded(one) for one in situation.known.values()):
            return False
        return all(name in situation.known for name, path in listing.adapters.items() if situation.is_ours(path))

    def _listing(self) -> Listing | None:
        self._listed_at = self.clock()
        try:
            self._listed = self.engine.listing()
        except EngineUnreachableError as error:
            self._say_of_engine(str(error))
            self._listed = None
        else:
            self._say_of_engine("")
        return self._listed

    def _read_list(self) -> None:
        try:
            text = self.read_wanted()
            if text is None:
                return
            if text == self._text:
                self._problem = ""
                return
            found = wanted.parse(text)
        except (OSError, InputError) as error:
            # The earlier list stands: a broken one may not take adapters from those who use them.
            self._problem = str(error)
            return
        self._text, self._problem = text, ""
        self._refused = found.refused
        self.known = decisions.wanted_again(self.known, found.adapters)
        for name, one in self.known.items():
            if one.ready is None and not one.preparing:
                # A restarted agent goes on from what it fetched before, also while the registry is away.
                kept = next((ready for ready in self.preparing.kept(name) if ready.holds(one.wanted)), None)
                self.known[name] = evolve(one, ready=kept)

    def _read_secrets(self) -> None:
        secrets = self.read_secrets()
        if self._secrets is not None and secrets != self._secrets:
            self.known = decisions.retried(self.known)
        self._secrets = secrets

    def _act(self, situation: Situation) -> Situation:
        loads, began = 0, self.clock()
        changed = False
        for action in decisions.decide(situation, self.clock()):
            if isinstance(action, Prepare):
                self._start(action.name)
                continue
            loads += isinstance(action, Load)
            if loads > LOADS_PER_STEP or self.clock() - began > ACT_S:
                self.wake()
                break
            try:
                self._change(action)
                changed = True
            except EngineUnreachableError as error:
                self._say_of_engine(str(error))
                return self._situation(None)
        return self._situation(self._listing() if changed else situation.listing)

    def _start(self, name: str) -> None:
        one = evolve(self.known[name], preparing=True)
        self.known[name] = one

        def prepare() -> None:
            try:
                outcome: Prepared | AdapterRefusedError = self.preparing.prepare(one.wanted, one.ready)
            except Exception as error:  # noqa: BLE001 (what others packed may break anything that reads it)
                outcome = describe(error)
            self._outcomes.put((one, outcome))
            self.wake()

        self.submit(prepare)

    def _take_outcomes(self) -> None:
        while not self._outcomes.empty():
            asked, outcome = self._outcomes.get_nowait()
            name = asked.wanted.name
            one = self.known.get(name)
            if one is None or one.wanted != asked.wanted:
                # Somebody changed their mind meanwhile; what is wanted now was asked for on its own.
                continue
            if isinstance(outcome, Prepared):
                self.known[name] = decisions.prepared(one, outcome, self.clock())
            else:
                self.metrics.failures.labels(reason=outcome.reason.value).inc()
                self.known[name] = decisions.not_prepared(one, outcome, self.clock())

    def _change(self, action: Load | Unload) -> None:
        if isinstance(action, Unload):
            self._unload(action.name)
            return
        began = self.clock()
        try:
            self._load(action)
        except AdapterRefusedError as refusal:
            self.metrics.failures.labels(reason=refusal.reason.value).inc()
            self.known[action.name] = decisions.not_loaded(self.known[action.name], refusal, self.clock())
            return
        self.metrics.load_seconds.observe(self.clock() - began)
        self.metrics.loads.labels(change="replace" if action.instead_of else "load").inc()

    def _load(self, action: Load) -> None:
        """Loads, or replaces: the name is gone for as long as the engine takes to load the other folder.

        vLLM 0.32 can also load in place (`load_inplace`), but then reads the adapter from the disk again at every step
        of every request that uses it, for as long as it is loaded.
        """
        self.preparing.check(action.path)
        if action.instead_of is None:
            self.engine.load(action.name, action.path)
            return
        self.engine.unload(action.name)
        try:
            self.engine.load(action.name, action.path)
        except AdapterRefusedError:
            self.engine.load(action.name, action.instead_of)
            raise

    def _unload(self, name: str) -> None:
        try:
            self.engine.unload(name)
        except AdapterRefusedError as refusal:
            # It is still listed, so the next step tries again.
            _say(f"adapter {name} cannot be unloaded: {refusal}")
            return
        self.metrics.loads.labels(change="unload").inc()

    def _tidy(self, situation: Situation) -> None:
        """Removes folders that neither the engine nor the list has named for a while."""
        if situation.listing is None:
            self._unused_since.clear()
            return
        named = {one.ready.path for one in situation.known.values() if one.ready}
        named |= set(situation.listing.adapters.values())
        now = self.clock()
        unused = [path for path in self.preparing.paths() if path not in named]
        self._unused_since = {path: self._unused_since.get(path, now) for path in unused}
        for path, since in self._unused_since.items():
            if now - since >= UNUSED_S:
                self.preparing.discard(path)

    def _tell(self, situation: Situation) -> None:
        told = report.compose(situation, self._refused, self._problem)
        for entry in told["adapters"]:
            if entry not in self.told["adapters"]:
                why = f": {entry['reason']}: {entry['message']}" if "reason" in entry else ""
                _say(f"adapter {entry['name']} from {entry.get('source', 'nowhere')} is {entry['state']}{why}")
        if "message" in told and told["message"] != self.told.get("message"):
            _say(told["message"])
        self.told = told
        self.metrics.count(told["adapters"])

    def _say_of_engine(self, problem: str) -> None:
        if problem != self._engine_problem:
            _say(f"the engine does not answer: {problem}" if problem else "the engine answers")
        self._engine_problem = problem


def _say(text: str) -> None:
    print(f"inference_server.agent: {text}", file=sys.stderr, flush=True)
