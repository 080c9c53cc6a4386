"""Tensors, listed and counted."""

from __future__ import annotations

from kaito_controller.catalog.tensor import Tensor, grouped


def tensor(name: str, dtype: str = "BF16", size: int = 8) -> Tensor:
    return Tensor(name=name, dtype=dtype, shape=(size // 2,), bytes=size)


def test_the_experts_of_a_layer_are_counted_and_layers_are_told_apart():
    """Experts that differ in dtype or shape are not alike."""
    names = [f"model.layers.{layer}.mlp.experts.{expert}.up.weight" for layer in (0, 1) for expert in range(3)]
    tensors = [*map(tensor, names), tensor("model.layers.0.mlp.experts.3.up.weight", "F8_E4M3"), tensor("model.norm")]
    assert grouped(grouped(tensors)) == grouped(tensors)
    found = {(group.name, group.dtype): group.count for group in grouped(tensors)}
    assert found == {
        ("model.layers.0.mlp.experts.*.up.weight", "BF16"): 3,
        ("model.layers.1.mlp.experts.*.up.weight", "BF16"): 3,
        ("model.layers.0.mlp.experts.*.up.weight", "F8_E4M3"): 1,
        ("model.norm", "BF16"): 1,
    }
    assert sum(group.total_bytes for group in grouped(tensors)) == sum(one.bytes for one in tensors)
