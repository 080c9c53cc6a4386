"""The start of a pod whose weights come from a hub: fetch and engine one after the other, and side by side.

Measured is how much of a slow hub's time the engine's own start hides.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.serving.servers import SETTINGS
from benchmarks.serving.setting import Setting
from benchmarks.serving.slow_hub import DOWNLOAD_S, SOURCE, slow_hub
from inference_server import contract
from kaito_controller.testing import serving

LIMIT_S: Final = 300.0


def measure(setting: Setting) -> dict[str, Any]:
    """Seconds until the weights are there, until the engine is ready beside them, and until ready when both begin."""
    python = setting.python
    (architecture,) = json.loads((setting.model / "config.json").read_text())["architectures"]
    with slow_hub(setting.model) as hub:
        apart = setting.folder / "apart"
        with _agent(python, apart, hub.url) as agent:
            fetch_s = serving.until(lambda: _is_fetched(agent), LIMIT_S, agent)
            start_s = _engine(python, apart, agent.port, architecture)
        together = setting.folder / "together"
        began = time.monotonic()
        with _agent(python, together, hub.url) as agent:
            both_s = _engine(python, together, agent.port, architecture, began)
    saved_s = fetch_s + start_s - both_s
    return {
        "download_s": DOWNLOAD_S,
        "fetch_s": round(fetch_s, 2),
        "start_s": round(start_s, 2),
        "side_by_side_s": round(both_s, 2),
        "saved_s": round(saved_s, 2),
        "hidden_share": round(saved_s / min(fetch_s, start_s), 2),
    }


def show(figures: dict[str, Any]) -> None:
    """Print how long each takes, and both at once."""
    print(
        f"start of an engine whose weights are fetched, from a hub that takes {figures['download_s']:.0f} s over them"
    )
    apart = f"weights {figures['fetch_s']:.1f} s, engine {figures['start_s']:.1f} s"
    print(f"  {apart}, at once {figures['side_by_side_s']:.1f} s")
    print(f"  {figures['hidden_share']:.0%} of the shorter is hidden behind the longer")


@contextmanager
def _agent(python: Path, home: Path, hub: str) -> Iterator[serving.Server]:
    """The agent, fetching; it ends with the context."""
    home.mkdir()
    words = (
        *(contract.ARG_WEIGHTS, SOURCE, contract.ARG_WEIGHTS_DIRECTORY, str(home / "weights")),
        *(contract.ARG_WANTED, str(home / "none" / contract.WANTED_FILE_NAME)),
    )
    agent = serving.start_agent(python, home / "agent", *words, more={"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"})
    try:
        yield agent
    finally:
        agent.stop()


def _engine(python: Path, home: Path, agent_port: int, architecture: str, began: float | None = None) -> float:
    """Seconds from `began`, or from now, until the engine answers."""
    began = time.monotonic() if began is None else began
    folder = home / "weights" / contract.weights_folder_name(SOURCE)
    waiting = (
        *(contract.ARG_WEIGHTS_AGENT, f"http://127.0.0.1:{agent_port}"),
        *(contract.ARG_ARCHITECTURE, architecture),
    )
    started = serving.start(python, home / "engine", contract.ARG_MODEL, str(folder), *SETTINGS, *waiting)
    with serving.running(started):
        return time.monotonic() - began


def _is_fetched(agent: serving.Server) -> bool:
    _, report = agent.ask(contract.REPORT_PATH)
    return bool(report["weights"]["state"] == contract.WEIGHTS_READY)
