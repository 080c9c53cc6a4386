"""What makes two tries the same run: only then may the second go on from a checkpoint of the first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import asdict

from inference_server.tune.config import TuningConfig

# Of TrainingArguments: what changes how often something is told or kept, and not what is learnt.
_WITHOUT_WEIGHT: Final = frozenset(
    {"save_strategy", "save_steps", "save_total_limit", "logging_steps", "logging_strategy", "logging_first_step"}
)


def identity(
    config: TuningConfig, *, model: Path, data_digest: str, processes: int, versions: Mapping[str, str]
) -> str:
    """A digest of all that decides what is learnt. Of the weights it takes names and sizes: they are many gigabytes."""
    parts: dict[str, Any] = {
        "config": asdict(config, filter=lambda attribute, _: attribute.name != "notes"),
        "model": hashlib.sha256((model / "config.json").read_bytes()).hexdigest(),
        "weights": sorted((path.name, path.stat().st_size) for path in model.glob("*.safetensors")),
        "data": data_digest,
        "processes": processes,
        "versions": dict(versions),
    }
    parts["config"]["training"] = {
        name: value for name, value in config.training.items() if name not in _WITHOUT_WEIGHT
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
