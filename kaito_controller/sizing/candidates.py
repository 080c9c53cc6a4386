"""Every kind of node that could serve a model, the best first, and why the others cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import evolve, field, frozen

from kaito_controller.catalog.hardware import SKU, Price
from kaito_controller.catalog.model import Preset, Runtime
from kaito_controller.sizing.fit import Demand
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, Misfit, plan_on
from kaito_controller.sizing.lowest_prices import lowest_prices
from kaito_controller.sizing.memory import total
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.runtime_choice import runtime_for

# Nodes beyond which nobody looks for a place of his own accord: a pipeline so long answers slowly.
MOST_NODES: Final = 16


@frozen(kw_only=True)
class Wishes:
    """Which instance types may be chosen; empty means any.

    `zones` are those allowed, and `offered` the zones of each instance type as the provider says: an instance type that
    nobody says anything of stays. `spot` takes prices of spot capacity. `quota` is how many nodes of an instance type
    the account may still have, 0 for none, and `most_nodes` how many any plan may take.
    """

    instance_types: tuple[str, ...] = ()
    clouds: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    offered: Mapping[str, Sequence[str]] = field(factory=dict)
    regions: tuple[str, ...] = ()
    spot: bool = False
    quota: Mapping[str, int] = field(factory=dict)
    node_count: int | None = None
    most_nodes: int = MOST_NODES


@frozen(kw_only=True)
class Candidate:
    """One instance type for a model: how it would serve it, or why not, and what a node costs an hour if known."""

    sku: SKU
    runtime: Runtime
    outcome: InferencePlan | DoesNotFit
    price: Price | None = None

    @property
    def fits(self) -> bool:
        """Whether the model can be served so."""
        return isinstance(self.outcome, InferencePlan)

    @property
    def reason(self) -> str:
        """Why not; empty where it fits."""
        return self.outcome.message if isinstance(self.outcome, DoesNotFit) else ""

    @property
    def per_hour(self) -> float | None:
        """What all nodes cost an hour together; None where no price is known or it does not fit."""
        if self.price is None or not isinstance(self.outcome, InferencePlan):
            return None
        return self.price.per_hour * self.outcome.node_count

    @property
    def wasted_bytes(self) -> int:
        """GPU memory of all nodes that neither the model nor the KV cache of one request needs."""
        plan = self.outcome
        if not isinstance(plan, InferencePlan):
            return 0
        needed = total([entry for entry in plan.ledger if entry.entry != "KV cache"]) + plan.request_bytes
        used = plan.tensor_parallel * plan.pipeline_parallel * needed
        return plan.node_count * self.sku.gpu_count * self.sku.gpu_memory_bytes - used


def candidates(
    preset: Preset,
    skus: Iterable[SKU],
    runtimes: Sequence[Runtime],
    *,
    demand: Demand | None = None,
    wishes: Wishes | None = None,
    prices: Iterable[Price] = (),
) -> tuple[Candidate, ...]:
    """One candidate for each instance type that the wishes name or allow, the best first.

    `runtimes` are those that the operator can use, the preferred one first: each GPU gets the first that holds programs
    for it. Those that fit come first: by what their nodes cost an hour, then, where no price is known, by GPU memory
    wasted. Equal questions have equal answers, whatever the order of `skus`.
    """
    demand, wishes = demand or Demand(), wishes or Wishes()
    known = lowest_prices(prices, spot=wishes.spot, regions=wishes.regions)
    finder = _Finder(sizes=ModelSizes(preset=preset), runtimes=tuple(runtimes), demand=demand, wishes=wishes)
    found = [
        Candidate(sku=sku, runtime=runtime, outcome=outcome, price=known.get(sku.name.lower()))
        for sku in skus
        if _allowed(sku, wishes)
        for runtime, outcome in (finder.find(sku),)
    ]
    currencies = Counter(one.price.currency for one in found if one.price is not None and one.fits)
    usual = min(currencies, key=lambda currency: (-currencies[currency], currency), default="")
    return tuple(sorted(found, key=lambda one: _rank(one, usual)))


def chosen(found: Sequence[Candidate]) -> int | None:
    """The index of the candidate to take: the first that fits; None where none does."""
    return next((index for index, candidate in enumerate(found) if candidate.fits), None)


def _rank(candidate: Candidate, currency: str) -> tuple[object, ...]:
    cost = candidate.per_hour
    name = candidate.sku.name.lower()
    if not candidate.fits:
        needed = candidate.outcome.needed_bytes if isinstance(candidate.outcome, DoesNotFit) else 0
        return (3, 0.0, needed, name)
    if cost is not None and candidate.price is not None:
        return (0 if candidate.price.currency == currency else 1, cost, candidate.wasted_bytes, name)
    return (2, 0.0, candidate.wasted_bytes, name)


def _allowed(sku: SKU, wishes: Wishes) -> bool:
    name = sku.name.lower()
    if wishes.instance_types and name not in {one.lower() for one in wishes.instance_types}:
        return False
    return not wishes.clouds or sku.cloud.lower() in {one.lower() for one in wishes.clouds}


@frozen(kw_only=True)
class _Finder:
    """Plans for one model, each kind of hardware once: rows that differ in name only have one answer."""

    sizes: ModelSizes
    runtimes: tuple[Runtime, ...]
    demand: Demand
    wishes: Wishes
    _known: dict[object, tuple[str, InferencePlan | DoesNotFit]] = field(factory=dict, init=False, repr=False, eq=False)

    def find(self, sku: SKU) -> tuple[Runtime, InferencePlan | DoesNotFit]:
        runtime = runtime_for(sku, self.runtimes)
        refusal = self._refusal(sku)
        if refusal is not None:
            return runtime, refusal
        key = (sku.gpu.name, sku.gpu_count, sku.own_memory_bytes, sku.partition)
        if key not in self._known:
            made = plan_on(
                self.sizes,
                sku,
                runtime,
                node_count=self.wishes.node_count,
                demand=self.demand,
                most_nodes=self.wishes.most_nodes,
            )
            self._known[key] = (sku.name, made)
        name, outcome = self._known[key]
        return runtime, self._within_quota(sku, _renamed(outcome, name, sku.name))

    def _refusal(self, sku: SKU) -> DoesNotFit | None:
        offered = self.wishes.offered.get(sku.name)
        if self.wishes.zones and offered is not None and not set(offered) & set(self.wishes.zones):
            message = (
                f"{sku.name} is offered in {', '.join(sorted(offered)) or 'no zone'}, and allowed are "
                f"{', '.join(self.wishes.zones)}: allow another zone, or choose another instance type"
            )
            return DoesNotFit(reason=Misfit.UNAVAILABLE, message=message)
        return None

    def _within_quota(self, sku: SKU, outcome: InferencePlan | DoesNotFit) -> InferencePlan | DoesNotFit:
        quota = self.wishes.quota.get(sku.name)
        if quota is None or not isinstance(outcome, InferencePlan) or outcome.node_count <= quota:
            return outcome
        message = (
            f"{outcome.node_count} of {sku.name} are needed, and the quota has room for {quota}: "
            "ask the cloud for more, or choose another instance type"
        )
        return DoesNotFit(reason=Misfit.UNAVAILABLE, message=message)


def _renamed(outcome: InferencePlan | DoesNotFit, old: str, new: str) -> InferencePlan | DoesNotFit:
    if old == new:
        return outcome
    if isinstance(outcome, DoesNotFit):
        return evolve(outcome, message=outcome.message.replace(old, new))
    if not any(old in note for note in outcome.notes):
        return outcome
    return evolve(outcome, notes=tuple(note.replace(old, new) for note in outcome.notes))
