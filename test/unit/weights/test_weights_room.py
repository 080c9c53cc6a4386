"""A full disk of a node makes room for the next model, as its hub and its disk really tell of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from inference_server import contract
from inference_server.weights.keeper import SPARE_BYTES, Keeper
from inference_server.weights.origins import HubOrigin
from inference_server.weights.state import Phase
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.hub import FakeHub
from kaito_controller.testing.threaded import threaded

Make = Callable[..., Keeper]
SOURCE = "hf://org/new"


class Usage(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


def test_a_full_disk_was_told_before_what_nobody_uses_made_room(
    keeper: Make, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The hub's client asked for room before anybody was told how much it takes."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    unused = keeper("hf://org/unused@" + "f" * 40)
    unused.run()
    unused.store.close()
    folder = tmp_path / "weights" / contract.weights_folder_name("hf://org/unused@" + "f" * 40)
    free = {True: 0, False: 2 * SPARE_BYTES}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(4 * SPARE_BYTES, 0, free[folder.exists()]))
    hub = FakeHub(models={"org/new": {"config.json": b"{}", "model.safetensors": b"weights!"}})
    with threaded(listening(hub.answer)) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        made = keeper(SOURCE, of=HubOrigin(clock=clock))
        clock.on_sleep = lambda: pytest.fail(made.state.standing().message)
        made.run()

    assert made.state.standing().phase is Phase.READY
    assert not folder.exists()
