"""docs/sizing.md: the worked example, recomputed."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import pytest

from kaito_controller.catalog import loader
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import Preset
from kaito_controller.sizing.inference import InferencePlan, plan_inference

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sizing.md"
COMMAND = re.compile(r"`kubectl kaito plan --model (\S+) --instance-type (\S+)`")
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([\d,]+) \|$", re.MULTILINE)
SIGNS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

EXAMPLE = PAGE.read_text().partition("## A worked example")[2]
ROWS = {name: (text, int(result.replace(",", ""))) for name, text, result in ROW.findall(EXAMPLE)}


def value(node: ast.expr) -> Fraction:
    """What a sum of whole numbers comes to."""
    if isinstance(node, ast.BinOp):
        return SIGNS[type(node.op)](value(node.left), value(node.right))
    assert isinstance(node, ast.Constant)
    return Fraction(node.value)


def computed(text: str) -> Fraction:
    """What a sum of the page comes to."""
    text, _, rounding = text.partition(", rounded ")
    choices = text.removeprefix("the largest of ").split(" and ")
    sums = [value(ast.parse(one.replace(",", "").replace(" x ", " * "), mode="eval").body) for one in choices]
    rounded = {"up": ceil, "down": floor, "": lambda number: number}[rounding]
    return Fraction(rounded(max(sums)))


@pytest.fixture(scope="module")
def planned() -> tuple[Preset, SKU, InferencePlan]:
    """What the page plans."""
    catalog = loader.load()
    found = COMMAND.search(EXAMPLE)
    assert found is not None
    preset, sku = catalog.preset(found[1]), catalog.sku(found[2])
    plan = plan_inference(preset, sku, runtime=catalog.runtime("vllm-cuda"))
    assert isinstance(plan, InferencePlan)
    return preset, sku, plan


@pytest.mark.parametrize("name", ROWS)
def test_each_sum_is_right(name: str):
    """As written."""
    text, result = ROWS[name]
    assert computed(text) == result


def test_the_sums_are_those_of_the_plan(planned: tuple[Preset, SKU, InferencePlan]):
    """Every entry of the ledger, and what follows from it."""
    preset, _, plan = planned
    results = {name: result for name, (_, result) in ROWS.items()}
    for entry in plan.ledger:
        wanted = results[entry.entry] if entry.entry != "KV cache" else results["blocks"] * results["a block"]
        assert entry.bytes == wanted, entry
    assert results["parameters"] == preset.parameters
    assert results["the engine's share"] == plan.available_bytes
    assert results["blocks"] == plan.kv_blocks
    assert results["KV tokens"] == plan.kv_tokens
    assert results[f"blocks of a request of {plan.max_model_len:,} tokens"] * results["a block"] == plan.request_bytes


def test_the_numbers_of_the_text_are_those_of_the_catalogue(planned: tuple[Preset, SKU, InferencePlan]):
    """The text above the sums says what goes into them."""
    preset, sku, _ = planned
    made = preset.architecture
    for text in (
        f"{made.layers} layers of width {made.hidden_size}, {made.attention_heads} attention heads",
        f"{made.kv_heads} KV heads of width {made.head_dim}, feed-forward parts of width {made.intermediate_size}",
        f"a vocabulary of {made.vocabulary_size}, in {preset.dtype}",
        f"a process sees {(sku.gpu.engine_memory_bytes or 0) // 2**20} MiB",
    ):
        assert text in " ".join(EXAMPLE.split())
