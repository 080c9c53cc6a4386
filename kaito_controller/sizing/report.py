"""A plan as plain values for machines, in names that are part of the interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kaito_controller.catalog.hardware import Price
from kaito_controller.sizing.candidates import Candidate, chosen
from kaito_controller.sizing.inference import InferencePlan
from kaito_controller.sizing.memory import LedgerEntry
from kaito_controller.sizing.tuning import TuningSize


def report(
    model: str,
    found: Sequence[Candidate],
    *,
    arguments: Callable[[Candidate, InferencePlan], Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The candidates of a model as JSON: `{"model", "candidates": [...], "chosen"}`.

    `arguments` gives the engine's command line of a candidate that fits; without it, the options that decide memory.
    """
    words = arguments or (lambda _, plan: engine_options(plan))
    return {
        "model": model,
        "candidates": [_candidate(candidate, words) for candidate in found],
        "chosen": chosen(found),
    }


def engine_options(plan: InferencePlan) -> list[str]:
    """The options of the engine that a plan decides, as words."""
    words = ["--dtype", plan.dtype, "--gpu-memory-utilization", f"{plan.gpu_memory_utilization:g}"]
    words += ["--max-model-len", str(plan.max_model_len), "--tensor-parallel-size", str(plan.tensor_parallel)]
    if plan.pipeline_parallel > 1:
        words += ["--pipeline-parallel-size", str(plan.pipeline_parallel)]
    if plan.data_parallel > 1:
        words += ["--data-parallel-size", str(plan.data_parallel)]
    if plan.expert_parallel:
        words.append("--enable-expert-parallel")
    if plan.kv_cache_dtype:
        words += ["--kv-cache-dtype", plan.kv_cache_dtype]
    return words


def plan_values(plan: InferencePlan) -> dict[str, Any]:
    """The figures of one plan, by the names that the JSON and a Workspace's status share."""
    return {
        "nodes": plan.node_count,
        "tensorParallel": plan.tensor_parallel,
        "pipelineParallel": plan.pipeline_parallel,
        "dataParallel": plan.data_parallel,
        "dtype": plan.dtype,
        "maxModelLen": plan.max_model_len,
        "kvTokens": plan.kv_tokens,
        "ledger": ledger_values(plan.ledger),
    }


def tuning_values(size: TuningSize) -> dict[str, Any]:
    """The same of a model that is tuned: a copy of it on each GPU of one node, and the longest example."""
    return {
        "nodes": 1,
        "tensorParallel": 1,
        "pipelineParallel": 1,
        "dataParallel": size.gpus,
        "dtype": size.dtype,
        "maxModelLen": size.options.length,
        "ledger": ledger_values(size.ledger),
    }


def ledger_values(ledger: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    """A ledger, entry by entry."""
    return [
        {"entry": entry.entry, "bytes": entry.bytes, "formula": entry.formula, "source": entry.source}
        for entry in ledger
    ]


def _candidate(candidate: Candidate, arguments: Callable[[Candidate, InferencePlan], Sequence[str]]) -> dict[str, Any]:
    plan = candidate.outcome
    values = dict(plan_values(plan)) if isinstance(plan, InferencePlan) else dict(_NO_PLAN)
    ledger = values.pop("ledger")
    return {
        "instanceType": candidate.sku.name,
        **values,
        "args": list(arguments(candidate, plan)) if isinstance(plan, InferencePlan) else [],
        "ledger": ledger,
        "fits": candidate.fits,
        "reason": candidate.reason,
        "price": price_values(candidate.price),
    }


_NO_PLAN: Final[Mapping[str, Any]] = {
    "nodes": None,
    "tensorParallel": None,
    "pipelineParallel": None,
    "dataParallel": None,
    "dtype": None,
    "maxModelLen": None,
    "kvTokens": None,
    "ledger": [],
}


def price_values(price: Price | None) -> dict[str, Any] | None:
    """What a node costs an hour, by the same names."""
    if price is None:
        return None
    return {"perHour": price.per_hour, "currency": price.currency, "source": price.source, "date": price.date}
