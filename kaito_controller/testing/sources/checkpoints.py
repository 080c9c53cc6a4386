"""Checkpoints of a few bytes, in the formats of real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaito_controller.catalog.tensor import DTYPE_BITS

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Dtype and shape of each tensor by its name."""

LLAMA: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 32,
    "max_position_embeddings": 128,
    "torch_dtype": "bfloat16",
}
FIRST: Shapes = {"model.embed_tokens.weight": ("BF16", (32, 8)), "model.layers.0.mlp.up_proj.weight": ("BF16", (16, 8))}
SECOND: Shapes = {"model.layers.1.mlp.up_proj.weight": ("BF16", (16, 8)), "model.norm.weight": ("F32", (8,))}


def header_of(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The header of a file with these tensors one after another."""
    made: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata is not None else {}
    begin = 0
    for name, (dtype, shape) in shapes.items():
        elements = 1
        for dimension in shape:
            elements *= dimension
        end = begin + elements * DTYPE_BITS[dtype] // 8
        made[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    return made


def packed(header: Mapping[str, Any] | bytes, data_bytes: int) -> bytes:
    """A file with this header and that many zeros of data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(data_bytes)


def safetensors(shapes: Shapes, metadata: Mapping[str, str] | None = None) -> bytes:
    """A whole file with these tensors, all zeros."""
    header = header_of(shapes, metadata)
    ends = [info["data_offsets"][1] for name, info in header.items() if name != "__metadata__"]
    return packed(header, max(ends, default=0))


def tiny_model() -> dict[str, bytes]:
    """A model of two shards, with a second copy in a subfolder, as some hubs keep one."""
    shards = {"model-00001-of-00002.safetensors": FIRST, "model-00002-of-00002.safetensors": SECOND}
    weight_map = {tensor: file for file, shapes in shards.items() for tensor in shapes}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    return {
        "config.json": json.dumps(LLAMA).encode(),
        "generation_config.json": b'{"eos_token_id": 2}',
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{file: safetensors(shapes) for file, shapes in shards.items()},
        "original/consolidated.00.safetensors": safetensors({**FIRST, **SECOND}),
        "README.md": b"# A model",
    }


TINY_BYTES = 32 * 8 * 2 + 16 * 8 * 2 + 16 * 8 * 2 + 8 * 4
"""The weights of `tiny_model`."""


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder, and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
