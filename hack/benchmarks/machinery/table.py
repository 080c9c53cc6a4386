"""The figures of the machinery's benchmark as tables, with ratios to client-go's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

REFERENCE = "client-go"
MIB = 2**20
TARGETS: Sequence[tuple[str, str]] = (
    ("events_per_s", "at least 5,000 events a second on one core"),
    ("after_decoding_us", "at most 20 us of ours an event after decoding"),
    ("sync_to_client_go", "10,000 pods within 3 times client-go's time"),
    ("official_to_sync", "10,000 pods at least 5 times faster than the official informer"),
    ("lag_p99_ms", "loop lag p99 below 20 ms in the storm"),
)


def print_tables(result: Mapping[str, Any]) -> None:
    """Everything, on the screen."""
    _print_syncs(result["syncs"])
    _print_follow(result["follow"])
    _print_queue(result["queue"])
    for name, figures in result["writes"].items():
        print(f"writes {name:<12} needed {figures['needed']}, made {figures['made']}, wasted {figures['wasted']}")
    print("\ntargets")
    for name, figures in targets(result).items():
        for key, text in TARGETS:
            if key in figures:
                print(f"  {name:<10} {text}: {figures[key]:.3g}")


def targets(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The figures that have a target, by peer; each side syncs in the way that it takes by itself."""
    found: dict[str, dict[str, float]] = {}
    for name, figures in result["follow"].items():
        if not name.startswith("ours"):
            continue
        found[name] = {
            "events_per_s": figures["flood"]["events_per_s"],
            "after_decoding_us": figures["after_decoding_us"],
            "lag_p99_ms": figures["storm"]["lag_p99_ms"],
        }
        ours = (name, "stream")
        for key, pair in {
            "sync_to_client_go": (ours, (REFERENCE, "stream")),
            "official_to_sync": (("official", "list"), ours),
        }.items():
            ratio = _ratio(result["syncs"], *pair)
            if ratio is not None:
                found[name][key] = ratio
    return found


def _ratio(syncs: Sequence[Mapping[str, Any]], one: tuple[str, str], other: tuple[str, str]) -> float | None:
    """How many times as long one peer took in its way as the other in its own, for the fewest pods measured."""
    seconds = {(each["peer"], each["way"], each["pods"]): each["synced_s"] for each in syncs}
    for pods in sorted({each["pods"] for each in syncs}):
        pair = seconds.get((*one, pods)), seconds.get((*other, pods))
        if pair[0] and pair[1]:
            return float(pair[0] / pair[1])
    return None


def _print_syncs(syncs: Sequence[Mapping[str, Any]]) -> None:
    print(
        f"\n{'sync':<24}{'seconds':>9}{'ratio':>8}{'cpu s':>8}{'ratio':>8}"
        f"{'rss MiB':>9}{'peak MiB':>10}{'lag max ms':>12}"
    )
    reference = {(each["pods"], each["way"]): each for each in syncs if each["peer"] == REFERENCE}
    for each in syncs:
        other = reference.get((each["pods"], each["way"]), each)
        print(
            f"{each['pods']:>6} {each['way']:<6} {each['peer']:<10}{each['synced_s']:>9.2f}"
            f"{_over(each['synced_s'], other['synced_s']):>8}"
            f"{each['cpu_s']:>8.2f}{_over(each['cpu_s'], other['cpu_s']):>8}"
            f"{each['rss_bytes'] / MIB:>9.0f}{each['peak_rss_bytes'] / MIB:>10.0f}{each.get('lag_max_ms', '-'):>12}"
        )


def _print_follow(follow: Mapping[str, Mapping[str, Any]]) -> None:
    print(
        f"\n{'after sync':<11}{'storm/s':>9}{'lag p50':>9}{'lag p99':>9}{'us/event':>10}{'one core/s':>12}{'ratio':>7}"
        f"{'us/event':>10}{'after dec.':>11}{'rss MiB':>9}{'KiB/1000':>10}"
    )
    reference = follow.get(REFERENCE)
    for name, each in follow.items():
        storm, flood, memory = each["storm"], each["flood"], each["memory"]
        ratio = _over(flood["events_per_s"], reference["flood"]["events_per_s"]) if reference else "-"
        print(
            f"{name:<11}{storm['events_per_s']:>9.0f}{storm.get('lag_p50_ms', '-'):>9}{storm.get('lag_p99_ms', '-'):>9}"
            f"{storm['cpu_us_per_event']:>10.0f}{flood['events_per_s']:>12.0f}{ratio:>7}{flood['cpu_us_per_event']:>10.0f}"
            f"{each.get('after_decoding_us', 0.0):>11.1f}{memory['rss_bytes'] / MIB:>9.0f}"
            f"{memory['slope_bytes_per_1000_changes'] / 1024:>10.1f}"
        )


def _print_queue(queue: Mapping[str, Mapping[str, float]]) -> None:
    if REFERENCE not in queue:
        return
    print(f"\n{'queue, ns':<24}" + "".join(f"{name:>12}" for name in queue))
    for operation in queue[REFERENCE]:
        print(f"{operation:<24}" + "".join(f"{figures[operation]:>12.0f}" for figures in queue.values()))


def _over(value: float, other: float) -> str:
    return f"{value / other:.2f}" if other else "-"
