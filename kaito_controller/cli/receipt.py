"""A plan for people: what is taken, byte by byte, what that leaves, and what else there was."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from attrs import frozen

from kaito_controller.api import labels as keys
from kaito_controller.catalog.model import Preset
from kaito_controller.cli.engine_words import Words
from kaito_controller.cli.text_table import WIDTH, table
from kaito_controller.cli.why_lost import why_lost
from kaito_controller.sizing.candidates import Candidate, chosen
from kaito_controller.sizing.fit import DEFAULT_CONTEXT, Demand
from kaito_controller.sizing.inference import InferencePlan
from kaito_controller.sizing.memory import GIB, LedgerEntry, total
from kaito_controller.sizing.usable_memory import seen_memory

RUNNERS_UP: Final = 5
NAMES: Final = 5
"""Of instance types that are refused alike."""
CACHE: Final = "KV cache"
LABEL: Final = 13
NAME: Final = 34
NUMBER: Final = 11
_HEADER: Final = ("INSTANCE TYPE", "CLOUD", "NODES", "GPUS", "CONTEXT", "REQUESTS", "PRICE", "WHY NOT")


@frozen(kw_only=True)
class Receipt:
    """The candidates for a model, the best first, and remarks; `wide` shows sources and all runners-up."""

    preset: Preset
    demand: Demand
    found: Sequence[Candidate]
    words: Words
    notes: tuple[str, ...] = ()
    wide: bool = False

    def lines(self) -> Iterator[str]:
        """The lines of the receipt."""
        index = chosen(self.found)
        winner = self.found[index] if index is not None else None
        yield from _said("Model", self._model())
        yield from _said("Asked for", self._asked())
        if winner is None or not isinstance(winner.outcome, InferencePlan):
            yield from _said("Chosen", "nothing: no instance type that was looked at fits")
            yield from self._remarks(())
        else:
            yield from _choice(winner, winner.outcome)
            yield ""
            yield from self._memory(winner, winner.outcome)
            yield ""
            yield from _served(winner.outcome)
            yield from _said("Arguments", " ".join(self.words(winner, winner.outcome)))
            yield from self._remarks((*_warnings(winner), *winner.outcome.notes))
        yield from self._others(winner)

    def _model(self) -> str:
        preset = self.preset
        named = preset.name if preset.name == preset.model_id else f"{preset.name} ({preset.model_id})"
        parts = [named if preset.revision is None else f"{named} at {preset.revision[:19]}"]
        if preset.parameters:
            parts.append(f"{preset.parameters / 1e9:,.1f} billion parameters")
        if preset.quantisation is not None:
            parts.append(f"packed with {preset.quantisation.method}")
        return ", ".join(parts)

    def _asked(self) -> str:
        length, count = self.demand.flags.length, self.demand.concurrency
        many = f"{count:,} requests at a time, each of" if count > 1 else "requests of"
        if length is not None:
            return f"{many} {length:,} tokens"
        least = min(DEFAULT_CONTEXT, self.preset.token_limit)
        return f"{many} {least:,} tokens or more, as nobody said --context (the model's limit is {self._limit()})"

    def _limit(self) -> str:
        return f"{self.preset.token_limit:,}"

    def _memory(self, winner: Candidate, plan: InferencePlan) -> Iterator[str]:
        spent = [entry for entry in plan.ledger if entry.entry != CACHE]
        left = plan.available_bytes - total(spent)
        share = f"{plan.gpu_memory_utilization:g} of the {_gib(seen_memory(winner.sku))} that a process sees"
        yield "Memory of the fullest GPU"
        yield from _sum("the engine's share", plan.available_bytes, share)
        for entry in spent:
            yield from self._entry(entry)
        yield " " * NAME + "-" * (NUMBER + len(" GiB"))
        yield from _sum("left for KV cache", left, _blocks(plan, left))

    def _entry(self, entry: LedgerEntry) -> Iterator[str]:
        yield from _sum(f"- {entry.entry}", entry.bytes, entry.formula)
        if self.wide:
            yield from _sum("", None, f"source: {entry.source}")

    def _remarks(self, notes: Sequence[str]) -> Iterator[str]:
        for note in (*self.notes, *notes):
            yield from _said("Note", note)

    def _others(self, winner: Candidate | None) -> Iterator[str]:
        fitting = [one for one in self.found if one.fits and one is not winner]
        kinds = [[one] for one in fitting] if self.wide else _alike(fitting)
        refused = _refused(one for one in self.found if not one.fits)
        shown = kinds if self.wide else kinds[:RUNNERS_UP]
        told = refused if self.wide else refused[: RUNNERS_UP - len(shown)]
        if shown:
            yield ""
            yield "Runners-up"
            yield from table(_HEADER, [(*_row(kind), why_lost(kind[0], winner)) for kind in shown])
        if told:
            yield ""
            yield "Do not fit"
        for kind in told:
            names = [f"{one.sku.name} ({_gpus(one, 1)})" for one in (kind if self.wide else kind[:NAMES])]
            rest = f" and {len(kind) - len(names)} more" if len(kind) > len(names) else ""
            yield from _wrapped(", ".join(names) + rest, " " * 2)
            yield from _wrapped(kind[0].reason, " " * 4)
        more, others = (sum(map(len, kinds[len(shown) :])), sum(map(len, refused[len(told) :])))
        if more or others:
            yield f"and {more} more that fit, {others} that do not: -o wide shows them"


def _alike(found: Sequence[Candidate]) -> list[list[Candidate]]:
    """Instance types of one cloud that differ in what is no matter here, such as their CPUs, together."""
    kinds: dict[object, list[Candidate]] = {}
    for one in found:
        sku = one.sku
        key = (sku.cloud, sku.gpu.name, sku.gpu_count, sku.own_memory_bytes, one.per_hour)
        kinds.setdefault(key, []).append(one)
    return list(kinds.values())


def _refused(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """Those that are refused alike, together."""
    found: dict[str, list[Candidate]] = {}
    for one in candidates:
        found.setdefault(one.reason.replace(one.sku.name, ""), []).append(one)
    return list(found.values())


def _gpus(one: Candidate, nodes: int) -> str:
    return f"{one.sku.gpu_count * nodes} x {one.sku.gpu_model.removeprefix('NVIDIA ')}"


def _called(kind: Sequence[Candidate]) -> str:
    return kind[0].sku.name + (f" and {len(kind) - 1} alike" if len(kind) > 1 else "")


def _choice(winner: Candidate, plan: InferencePlan) -> Iterator[str]:
    sku = winner.sku
    yield from _said(
        "Chosen", f"{plan.node_count} x {sku.name} ({sku.cloud}), each with {sku.gpu_count} x {sku.gpu_model}"
    )
    cut = [f"{plan.tensor_parallel} GPUs share each layer"] if plan.tensor_parallel > 1 else []
    cut += [f"{plan.pipeline_parallel} nodes share the layers"] if plan.pipeline_parallel > 1 else []
    cut += [f"{plan.data_parallel} copies"] if plan.data_parallel > 1 else []
    yield from _said("Split", f"{', '.join(cut) or 'one GPU holds all of it'}; computed in {plan.dtype}")
    yield from _said("Runtime", winner.runtime.name)
    price = winner.price
    if price is None or winner.per_hour is None:
        yield from _said("Price", "no price is known, so the least GPU memory unused wins; --prices FILE tells prices")
    else:
        node = f"{plan.node_count} x {price.per_hour:,.2f}, " if plan.node_count > 1 else ""
        yield from _said(
            "Price", f"{winner.per_hour:,.2f} {price.currency} an hour ({node}{price.source}, {price.date})"
        )


def _warnings(winner: Candidate) -> Iterator[str]:
    note = winner.runtime.annotations.get(keys.RUNTIME_NOTE)
    if note is not None:
        yield f"runtime {winner.runtime.name}: {note}"


def _served(plan: InferencePlan) -> Iterator[str]:
    yield from _said("Context", f"{plan.max_model_len:,} tokens a request")
    copies = f", in each of {plan.data_parallel} copies" if plan.data_parallel > 1 else ""
    yield from _said("KV cache", f"{plan.kv_tokens:,} tokens{copies}")
    yield from _said("Requests", f"{plan.requests * plan.data_parallel:,.1f} of that length at a time")


def _blocks(plan: InferencePlan, left: int) -> str:
    cache = next((entry for entry in plan.ledger if entry.entry == CACHE), None)
    return f"{cache.formula}, {left - cache.bytes:,} bytes over" if cache is not None else ""


def _row(kind: Sequence[Candidate]) -> tuple[str, ...]:
    one, plan = kind[0], kind[0].outcome
    if not isinstance(plan, InferencePlan):
        return ()
    cost = f"{one.per_hour:,.2f} {one.price.currency}" if one.per_hour is not None and one.price is not None else ""
    requests = f"{plan.requests * plan.data_parallel:,.1f}"
    return (
        _called(kind),
        one.sku.cloud,
        str(plan.node_count),
        _gpus(one, plan.node_count),
        f"{plan.max_model_len:,}",
        requests,
        cost,
    )


def _said(label: str, text: str) -> Iterator[str]:
    yield from _wrapped(text, label.ljust(LABEL))


def _sum(name: str, count: int | None, rule: str) -> Iterator[str]:
    number = f"{count / GIB:{NUMBER},.2f} GiB" if count is not None else " " * (NUMBER + len(" GiB"))
    start = f"  {name}".ljust(NAME) + number
    yield from _wrapped(rule, f"{start}   ") if rule else [start]


def _wrapped(text: str, start: str) -> Iterator[str]:
    """The lines of a text behind `start`, and below its end."""
    lines = textwrap.wrap(text, max(20, WIDTH - len(start)), break_long_words=False, break_on_hyphens=False)
    for index, line in enumerate(lines):
        yield (start if index == 0 else " " * len(start)) + line


def _gib(count: int) -> str:
    return f"{count / GIB:,.2f} GiB"
