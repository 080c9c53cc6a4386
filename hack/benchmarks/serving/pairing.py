"""Two sides measured in turns, so that what the machine does meanwhile falls on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

from attrs import frozen

from benchmarks.serving.load import Block

PERCENTILE: Final = 0.99


@frozen(kw_only=True)
class Pairs:
    """The blocks of a peer and of ours, of which those with the same index ran one after the other."""

    peer: Sequence[Block]
    ours: Sequence[Block]

    def figures(self) -> dict[str, Any]:
        """Throughput as the median ratio of the pairs, with the spread of the middle half; latencies in ms."""
        ratios = sorted(ours.per_s / peer.per_s for ours, peer in zip(self.ours, self.peer, strict=True))
        return {
            "pairs": len(ratios),
            "throughput_ratio": round(median(ratios), 4),
            "throughput_ratio_middle_half": [
                round(ratios[len(ratios) // 4], 4),
                round(ratios[-1 - len(ratios) // 4], 4),
            ],
            "peer": _side(self.peer),
            "ours": _side(self.ours),
            "p99_more_ms": self._more(lambda block: _high_ms([block])),
            "cpu_more_ms_each": self._more(lambda block: block.cpu_ms_each),
        }

    def _more(self, figure: Callable[[Block], float]) -> float:
        """The median of what ours has more of it than the peer, pair by pair."""
        return round(median(figure(ours) - figure(peer) for ours, peer in zip(self.ours, self.peer, strict=True)), 3)


def in_turns(peer: Callable[[], Block], ours: Callable[[], Block], pairs: int) -> Pairs:
    """Measure both `pairs` times; who begins alternates, since the second of a pair may find the machine warmer."""
    found: tuple[list[Block], list[Block]] = ([], [])
    for index in range(pairs):
        for side in (0, 1) if index % 2 == 0 else (1, 0):
            found[side].append((peer, ours)[side]())
    return Pairs(peer=found[0], ours=found[1])


def _side(blocks: Sequence[Block]) -> dict[str, float]:
    return {
        "per_s": round(median(block.per_s for block in blocks), 2),
        "p50_ms": round(1000 * median(latency for block in blocks for latency in block.latencies_s), 3),
        "p99_ms": round(_high_ms(blocks), 3),
        "cpu_ms_each": round(median(block.cpu_ms_each for block in blocks), 3),
    }


def _high_ms(blocks: Sequence[Block]) -> float:
    latencies = sorted(latency for block in blocks for latency in block.latencies_s)
    return 1000 * latencies[min(len(latencies) - 1, int(PERCENTILE * len(latencies)))]
