"""What an engine measured, from its log and, where it told them exactly, from its answer."""

from __future__ import annotations

from measure_fit.comparison import Figures
from measure_fit.engine_log import EngineLog
from measure_fit.engine_run import Answer


def measured(log: EngineLog, answer: Answer) -> Figures:
    """The figures of one start."""
    space = _first(answer.kv_space, log.kv_space)
    requested = _first(answer.requested, log.requested)
    deducted = (log.graphs_estimate or 0) if log.graphs_deducted else 0
    other = None
    if requested is not None and space is not None and log.weights is not None:
        other = requested - space - log.weights - deducted
    return Figures(
        seen_memory=answer.seen_memory,
        weights=log.weights,
        graphs=log.graphs_estimate if log.graphs_deducted else log.graphs,
        other=other,
        kv_space=space,
        kv_blocks=_first(answer.kv_blocks, log.kv_blocks),
        kv_tokens=log.kv_tokens,
        max_model_len=_first(answer.max_model_len, log.max_model_len),
    )


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
