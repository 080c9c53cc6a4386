"""Figures of an engine's memory, as predicted and as measured, beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import asdict, frozen

from kaito_controller.sizing.memory import GIB


@frozen(kw_only=True)
class Figures:
    """Of the fullest GPU, in bytes, blocks or tokens; None for what nobody says.

    `seen_memory` is the whole GPU as a process sees it, `weights` as loaded, `graphs` what is set aside for CUDA
    graphs, `other` the rest of the engine's share beside the KV cache.
    """

    seen_memory: int | None = None
    weights: int | None = None
    graphs: int | None = None
    other: int | None = None
    kv_space: int | None = None
    kv_blocks: int | None = None
    kv_tokens: int | None = None
    max_model_len: int | None = None


# The field, what the table calls it, and whether it is bytes.
_NAMES: Final = (
    ("seen_memory", "memory that a process sees", True),
    ("weights", "weights as loaded", True),
    ("graphs", "CUDA graphs", True),
    ("other", "everything else", True),
    ("kv_space", "KV cache space", True),
    ("kv_blocks", "KV blocks", False),
    ("kv_tokens", "KV tokens", False),
    ("max_model_len", "longest context", False),
)


@frozen(kw_only=True)
class Row:
    """One figure twice."""

    name: str
    predicted: int | None
    measured: int | None
    is_bytes: bool

    @property
    def error_percent(self) -> float | None:
        """How far the prediction is above what was measured; None where there is no such number."""
        if self.predicted is None or self.measured is None:
            return None
        if self.predicted == self.measured:
            return 0.0
        return 100 * (self.predicted - self.measured) / self.measured if self.measured else None


def compare(predicted: Figures, measured: Figures) -> tuple[Row, ...]:
    """A row for each figure that was predicted."""
    ours, theirs = asdict(predicted), asdict(measured)
    return tuple(
        Row(name=name, predicted=ours[field], measured=theirs[field], is_bytes=is_bytes)
        for field, name, is_bytes in _NAMES
        if ours[field] is not None
    )


def table(title: str, rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [f"{title:<30}{'predicted':>16}{'measured':>16}{'error':>12}"]
    for row in rows:
        predicted, measured = (_shown(value, row.is_bytes) for value in (row.predicted, row.measured))
        lines.append(f"  {row.name:<28}{predicted:>16}{measured:>16}{_error(row.error_percent):>12}")
    return "\n".join(lines)


def _shown(value: int | None, is_bytes: bool) -> str:
    if value is None:
        return "not told"
    return f"{value / GIB:.2f} GiB" if is_bytes else f"{value:,}"


def _error(percent: float | None) -> str:
    if percent is None:
        return "-"
    return "exact" if percent == 0 else f"{percent:+.1f} %"
