"""Why a candidate is not the chosen one, in a few words."""

from __future__ import annotations

from kaito_controller.sizing.candidates import Candidate
from kaito_controller.sizing.memory import GIB


def why_lost(candidate: Candidate, winner: Candidate | None) -> str:
    """What speaks against a candidate; the reason that it does not fit, where it does not."""
    if not candidate.fits or winner is None:
        return candidate.reason
    mine, other = candidate.price, winner.price
    if other is None:
        return _wasted(candidate, winner) or "equal in all, and later by name"
    if mine is None:
        return "no price is known"
    if mine.currency != other.currency:
        return f"priced in {mine.currency}, and others in {other.currency}"
    dearer = (candidate.per_hour or 0) - (winner.per_hour or 0)
    if dearer > 0:
        return f"{dearer:,.2f} {mine.currency} an hour dearer"
    return f"as dear, and {_wasted(candidate, winner) or 'later by name'}"


def _wasted(candidate: Candidate, winner: Candidate) -> str:
    more = candidate.wasted_bytes - winner.wasted_bytes
    return f"{more / GIB:,.1f} GiB more unused" if more > 0 else ""
