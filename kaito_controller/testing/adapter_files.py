"""LoRA adapters as peft writes them, where no peft is: configs and headers are real, the numbers are zeros."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kaito_controller.testing.sources.checkpoints import Shapes, safetensors

HIDDEN = 128
LAYER = "model.layers.0.self_attn.o_proj"
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["o_proj"],
    "bias": "none",
    "modules_to_save": None,
    "init_lora_weights": True,
    "base_model_name_or_path": "/models/somewhere",
}


def lora(module: str = LAYER, rank: int = 8, into: int = HIDDEN, out: int = HIDDEN) -> dict[str, Any]:
    """The two tensors of one module."""
    prefix = f"base_model.model.{module}"
    return {f"{prefix}.lora_A.weight": ("F32", (rank, into)), f"{prefix}.lora_B.weight": ("F32", (out, rank))}


def write(folder: Path, tensors: Shapes | None = None, **config: Any) -> Path:
    """An adapter in this folder; `config` over what peft writes by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    given = lora(rank=config.get("r", 8)) if tensors is None else tensors
    (folder / "adapter_model.safetensors").write_bytes(safetensors(given))
    return folder
