"""Sizes and speeds as people read them, in decimal units, as disks are sold and networks are measured."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000


def size_text(count: int) -> str:
    """`28.1 GB`."""
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            break
        value /= _STEP
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def progress_text(bytes_done: int, bytes_total: int | None, bytes_per_second: int | None) -> str:
    """`12.3 of 28.1 GB, 220.0 MB/s, about 72 s left`, as far as it is known."""
    parts = [f"{size_text(bytes_done)} of {size_text(bytes_total)}" if bytes_total else size_text(bytes_done)]
    if bytes_per_second is not None:
        parts.append(f"{size_text(bytes_per_second)}/s")
        if bytes_total and bytes_per_second > 0:
            parts.append(f"about {max(0, bytes_total - bytes_done) // bytes_per_second} s left")
    return ", ".join(parts)
