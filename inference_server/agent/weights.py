"""The agent's other half: the model's own files, brought on a thread beside everything else."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import field, frozen
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from inference_server import contract
from inference_server.files.clock import Clock, SystemClock
from inference_server.weights.keeper import Keeper
from inference_server.weights.origins import HubOrigin, RegistryOrigin, origin_of
from inference_server.weights.peers import Peers
from inference_server.weights.state import Phase, Standing, State
from inference_server.weights.store import Store
from inference_server.weights.wording import progress_text

SAY_EVERY_S = 15.0


@frozen(kw_only=True)
class WeightsOptions:
    """What is to be brought: a URI, and where to. `secrets` are the folders of the Secrets that open its registry.

    `peers` are the agents of the model's other pods.
    """

    source: str
    directory: Path
    secrets: tuple[Path, ...] = ()
    with_code: bool = False
    mistral: bool = False
    peers: Peers = field(factory=Peers)


def start(options: WeightsOptions, clock: Clock | None = None) -> Keeper:
    """Begin; the keeper's state says where it stands. The hub's token is read from the environment."""
    clock = clock or SystemClock()
    token = os.environ.get(contract.ENV_HUB_TOKEN) or None
    keeper = Keeper(
        wanted=options.source,
        store=Store(options.directory),
        origin=origin_of(
            HubOrigin(token=token, with_code=options.with_code, mistral=options.mistral, clock=clock),
            RegistryOrigin(secrets=options.secrets, clock=clock),
        ),
        clock=clock,
        peers=options.peers,
    )
    threading.Thread(target=keeper.run, name="weights", daemon=True).start()
    threading.Thread(target=_say, args=(keeper.state, clock), name="weights-log", daemon=True).start()
    return keeper


@frozen(eq=False)
class WeightsCollector(Collector):
    """The same as metrics."""

    state: State

    def collect(self) -> Iterable[Metric]:
        """Read at each scrape."""
        standing = self.state.standing()
        told = GaugeMetricFamily(
            "kaito_weights_state", "1 for the state that the model's files are in.", labels=["state"]
        )
        for phase in Phase:
            told.add_metric([str(phase)], float(phase is standing.phase))
        yield told
        yield from _known("kaito_weights_bytes_done", "Bytes of the model's files that are here.", standing.bytes_done)
        yield from _known("kaito_weights_bytes_total", "Bytes of the model's files.", standing.bytes_total)
        yield from _known(
            "kaito_weights_bytes_per_second", "Speed over the last seconds; 0 when nothing comes.", _speed(standing)
        )


def register(registry: CollectorRegistry, state: State) -> None:
    """Expose where the files stand."""
    registry.register(WeightsCollector(state))


def _speed(standing: Standing) -> int:
    return standing.bytes_per_second or 0


def _known(name: str, told: str, value: int | None) -> Iterator[Metric]:
    if value is not None:
        yield GaugeMetricFamily(name, told, value=float(value))


def _say(state: State, clock: Clock) -> None:
    """The log: every change, and how far it is now and then."""
    before, said_at = Standing(), clock.monotonic()
    while True:
        now = state.standing()
        changed = (now.phase, now.message, now.folder) != (before.phase, before.message, before.folder)
        if changed or clock.monotonic() - said_at >= SAY_EVERY_S:
            before, said_at = now, clock.monotonic()
            print(f"inference_server.agent: weights: {line(now)}", file=sys.stderr, flush=True)
        if now.phase is Phase.READY:
            return
        clock.sleep(1.0)


def line(standing: Standing) -> str:
    """Where it stands, in words."""
    parts = [f"{standing.phase}: {standing.source}"]
    if standing.bytes_done is not None:
        parts.append(progress_text(standing.bytes_done, standing.bytes_total, standing.bytes_per_second))
    return "; ".join(part for part in (*parts, standing.folder, standing.message) if part)
