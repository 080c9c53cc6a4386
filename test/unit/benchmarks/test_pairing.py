"""Figures of two sides measured in turns."""

from __future__ import annotations

from benchmarks.serving.load import Block
from benchmarks.serving.pairing import Pairs, in_turns


def block(wall_s: float, *latencies_s: float, cpu_s: float = 0.0) -> Block:
    return Block(wall_s=wall_s, latencies_s=latencies_s, cpu_s=cpu_s)


def test_who_begins_alternates():
    """The second of a pair may find the machine warmer: each side is second as often."""
    order: list[str] = []

    def side(name: str) -> Block:
        order.append(name)
        return block(1.0, 0.1)

    in_turns(lambda: side("peer"), lambda: side("ours"), 3)
    assert order == ["peer", "ours", "ours", "peer", "peer", "ours"]


def test_a_machine_that_slows_down_meanwhile_changes_no_ratio():
    """Each pair is compared with itself: here ours takes a tenth longer in all of them."""
    peer = [block(slow, *[slow / 10] * 10, cpu_s=0.010) for slow in (1.0, 2.0, 4.0)]
    ours = [block(1.1 * slow, *[slow / 10 + 0.001] * 10, cpu_s=0.012) for slow in (1.0, 2.0, 4.0)]
    figures = Pairs(peer=peer, ours=ours).figures()
    assert figures["throughput_ratio"] == round(1 / 1.1, 4)
    assert figures["throughput_ratio_middle_half"] == [round(1 / 1.1, 4)] * 2
    assert (figures["p99_more_ms"], figures["cpu_more_ms_each"]) == (1.0, 0.2)
    assert (figures["pairs"], figures["peer"]["cpu_ms_each"]) == (3, 1.0)
