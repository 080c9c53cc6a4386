"""The measurements: reading everything, a storm, as many changes as one core takes, memory, queues, wasted writes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from benchmarks.machinery.peers import LIST, STREAM, Peer
from benchmarks.machinery.processes import Process, Replay, replaying, running
from benchmarks.slope import slope
from kaito_controller.testing.programs import built

Figures = dict[str, Any]
MICROSECONDS = 1e6
THOUSAND = 1000
WANTED_PODS = 200
CHANGES_A_POD = 5
SETTLE_S = 3.0
"""After the last change an operator may still be writing; none of those measured waits for longer."""


@frozen(kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        pods: how many there are, for each sync.
        storm_rate, storm_s: changes a second, and for how long.
        flood: changes at once, for the rate that one core takes.
        churn_rounds, churn: rounds of changes, and changes a round, between two looks at the memory.
        queue: operations on a queue.
    """

    pods: Sequence[int] = (10_000, 50_000)
    storm_rate: float = 1000.0
    storm_s: float = 15.0
    flood: int = 20_000
    churn_rounds: int = 4
    churn: int = 10_000
    queue: int = 500_000


QUICK = Size(pods=(2_000,), storm_s=3.0, flood=4_000, churn_rounds=3, churn=2_000, queue=100_000)
TINY = Size(pods=(100,), storm_rate=200.0, storm_s=0.5, flood=200, churn_rounds=3, churn=100, queue=10_000)


def sync(peer: Peer, pods: int, way: str, folder: Path) -> Figures:
    """Seconds until a fresh process knows every pod and has told its handler, with processor time and memory."""
    with replaying(pods) as replay, following(peer, replay, pods, way, folder) as process:
        return _synced(process, replay)


def follow(peer: Peer, size: Size, folder: Path) -> Figures:
    """One process after its sync: a storm at a fixed rate, a flood on one core, and memory while changes go on."""
    pods = size.pods[0]
    with replaying(pods) as replay, following(peer, replay, pods, peer.ways[0], folder) as process:
        made = {"sync": _synced(process, replay)}
        told = pods
        count = max(int(size.storm_rate * size.storm_s * peer.storm_share), 1)
        made["storm"] = _storm(process, replay, told, count, size.storm_rate)
        told += count
        process.pin()
        count = max(int(size.flood * peer.storm_share), 1)
        made["flood"] = _storm(process, replay, told, count, 0.0)
        told += count
        made["memory"] = _churn(process, replay, told, size.churn_rounds, max(int(size.churn * peer.storm_share), 1))
        if peer.is_ours:
            made["after_decoding_us"] = process.ask(f"after_decoding {pods}")["after_decoding_us"]
        return made


def queues(python: str, environment: Mapping[str, str], size: Size) -> Figures:
    """Nanoseconds an operation, on our queue and on client-go's."""
    peer = [str(built("peers") / "clientgo"), "queuespeed", str(size.queue)]
    ours = [python, "-m", "benchmarks.machinery.queue_speed", str(size.queue)]
    return {
        "client-go": json.loads(subprocess.run(peer, stdout=subprocess.PIPE, check=True).stdout),
        "ours": json.loads(
            subprocess.run(ours, stdout=subprocess.PIPE, check=True, env={**os.environ, **environment}).stdout
        ),
    }


def writes(name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Figures:
    """Writes of an operator that wants one label on each pod, while every pod changes otherwise again and again.

    One write a pod is needed. Whatever comes on top is wasted.
    """
    with replaying(WANTED_PODS) as replay:
        arguments = [*command, "--server", replay.url, "--pods", str(WANTED_PODS)]
        with running(f"writes-{name}", arguments, environment, folder) as process:
            process.hear()
            for _ in range(CHANGES_A_POD):
                replay.storm(WANTED_PODS)
                time.sleep(SETTLE_S / CHANGES_A_POD)
            time.sleep(SETTLE_S)
            found = replay.requests()
    made = sum(found.get(verb, 0) for verb in ("POST", "PUT", "PATCH", "DELETE"))
    return {"needed": WANTED_PODS, "made": made, "wasted": made - WANTED_PODS, "requests": dict(found)}


def following(peer: Peer, replay: Replay, pods: int, way: str, folder: Path) -> Any:
    """The peer's process, which follows the pods of the replay server."""
    command, environment = peer.start(replay.url, pods, way)
    return running(f"{peer.name}-{way}-{pods}", command, environment, folder)


def _synced(process: Process, replay: Replay) -> Figures:
    said = process.hear()
    return {**said, **process.memory(), "requests": dict(replay.requests())}


def _storm(process: Process, replay: Replay, told: int, count: int, rate: float) -> Figures:
    cpu_s, started = process.cpu_s(), time.perf_counter()
    replay.storm(count, rate)
    said = process.ask(f"expect {told + count}")
    seconds = time.perf_counter() - started
    used = process.cpu_s() - cpu_s
    return {
        **said,
        "events": count,
        "asked_per_s": rate,
        "seconds": seconds,
        "events_per_s": count / seconds,
        "cpu_us_per_event": used / count * MICROSECONDS,
    }


def _churn(process: Process, replay: Replay, told: int, rounds: int, count: int) -> Figures:
    resident = [process.memory()["rss_bytes"]]
    for number in range(rounds):
        replay.storm(count)
        process.ask(f"expect {told + (number + 1) * count}")
        resident.append(process.memory()["rss_bytes"])
    changes = [number * count for number in range(len(resident))]
    return {
        **process.memory(),
        "rss_bytes_by_round": resident,
        "changes_a_round": count,
        "slope_bytes_per_1000_changes": slope(changes, resident) * THOUSAND,
    }


WAYS = (STREAM, LIST)
