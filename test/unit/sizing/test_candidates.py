"""Ranking instance types for a model: what fits first, the cheapest of it before the rest, and why not."""

from __future__ import annotations

import random

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.catalog.hardware import Price
from kaito_controller.catalog.loader import load
from kaito_controller.sizing.candidates import Candidate, Wishes, candidates, chosen
from kaito_controller.sizing.fit import Demand
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, Misfit, plan_inference
from kaito_controller.sizing.report import report

CATALOG = load()
CUDA = CATALOG.runtime("vllm-cuda")
V100 = CATALOG.runtime("vllm-cuda-v100")
PHI = CATALOG.preset("phi-4")
AZURE = tuple(sku for sku in CATALOG.skus if sku.cloud == "azure")


def price(name: str, per_hour: float, **facts: object) -> Price:
    usual = Price(instance_type=name, per_hour=per_hour, currency="USD", source="a test", date="2026-07-01")
    return evolve(usual, **facts)


def ranked(preset: str = "phi-4", **options: object) -> tuple[Candidate, ...]:
    return candidates(CATALOG.preset(preset), AZURE, (CUDA, V100), **options)  # type: ignore[arg-type]


def named(found: tuple[Candidate, ...], name: str) -> Candidate:
    return next(candidate for candidate in found if candidate.sku.name == name)


def test_what_fits_is_first_and_each_of_the_rest_has_its_reason():
    """Nothing that fits comes after something that does not, and no reason is empty."""
    found = ranked()
    fits = [candidate.fits for candidate in found]

    assert len(found) == len(AZURE)
    assert fits == sorted(fits, reverse=True)
    assert all(bool(candidate.reason) != candidate.fits for candidate in found)
    assert chosen(found) == 0


def test_without_prices_the_least_waste_wins():
    """No price is known of any: the memory that nothing needs decides."""
    fits = [candidate for candidate in ranked() if candidate.fits]

    assert [candidate.wasted_bytes for candidate in fits] == sorted(candidate.wasted_bytes for candidate in fits)


def test_a_price_counts_for_all_nodes_and_before_waste():
    """The cheapest of those with a price, then those without one."""
    prices = [price("Standard_NC24ads_A100_v4", 3.0), price("Standard_ND96isr_H100_v5", 90.0), price("other", 0.1)]
    first, second, third, *_ = ranked(prices=prices)

    assert (first.sku.name, second.sku.name) == ("Standard_NC24ads_A100_v4", "Standard_ND96isr_H100_v5")
    assert isinstance(first.outcome, InferencePlan)
    assert first.per_hour == 3.0 * first.outcome.node_count
    assert (third.fits, third.price) == (True, None)


def test_prices_of_other_money_come_after():
    """Nobody knows what one currency is in another: the one of most prices is compared, the others follow."""
    prices = [
        price("Standard_NC24ads_A100_v4", 1.0, currency="EUR"),
        price("Standard_ND96isr_H100_v5", 90.0),
        price("Standard_NC40ads_H100_v5", 9.0),
    ]
    names = [candidate.sku.name for candidate in ranked(prices=prices)[:3]]

    assert names == ["Standard_NC40ads_H100_v5", "Standard_ND96isr_H100_v5", "Standard_NC24ads_A100_v4"]


def test_spot_prices_count_where_spot_is_wished_for():
    """Elsewhere the price of capacity that stays is taken."""
    name = "Standard_NC24ads_A100_v4"
    prices = [price(name, 3.67), price(name, 1.2, spot=True), price(name, 1.1, spot=True, region="elsewhere")]

    assert named(ranked(prices=prices), name).per_hour == 3.67
    spot = Wishes(spot=True, regions=("here",))
    assert named(ranked(prices=prices, wishes=spot), name).per_hour == 1.2


def test_only_what_is_wished_for_is_looked_at():
    """Names in any case, and clouds."""
    names = Wishes(instance_types=("standard_nc24ads_a100_v4", "p4d.24xlarge"))
    both = candidates(PHI, CATALOG.skus, (CUDA,), wishes=names)
    aws = candidates(PHI, CATALOG.skus, (CUDA,), wishes=evolve(names, clouds=("AWS",)))

    assert {candidate.sku.name for candidate in both} == {"Standard_NC24ads_A100_v4", "p4d.24xlarge"}
    assert [candidate.sku.name for candidate in aws] == ["p4d.24xlarge"]


def test_a_zone_without_an_instance_type_rejects_it():
    """The reason names both lists; an instance type of which no zones are known stays."""
    name = "Standard_NC24ads_A100_v4"
    wishes = Wishes(
        zones=("eu-1",), offered={name: ("eu-2", "eu-3")}, instance_types=(name, "Standard_NC40ads_H100_v5")
    )
    found = ranked(wishes=wishes)

    assert named(found, "Standard_NC40ads_H100_v5").fits
    assert named(found, name).reason == (
        f"{name} is offered in eu-2, eu-3, and allowed are eu-1: allow another zone, or choose another instance type"
    )


def test_a_quota_too_small_rejects():
    """falcon-40b takes two nodes of one A100, of which the account may have one."""
    name = "Standard_NC24ads_A100_v4"
    wishes = Wishes(instance_types=(name,), quota={name: 1})
    (found,) = ranked("falcon-40b", wishes=wishes)

    assert isinstance(found.outcome, DoesNotFit)
    assert found.outcome.reason == Misfit.UNAVAILABLE
    assert f"2 of {name} are needed, and the quota has room for 1" in found.reason


def test_each_gpu_gets_the_runtime_that_holds_programs_for_it():
    """A V100 is served by the runtime that was built for it, where the operator has it, and by none otherwise."""
    name = "Standard_NC6s_v3"
    (with_it,) = ranked("phi-3-mini-4k-instruct", wishes=Wishes(instance_types=(name,)))
    (without,) = candidates(
        CATALOG.preset("phi-3-mini-4k-instruct"), AZURE, (CUDA,), wishes=Wishes(instance_types=(name,))
    )

    assert (with_it.fits, with_it.runtime.name) == (True, "vllm-cuda-v100")
    assert not without.fits
    assert "compute capability 7.0" in without.reason


def test_a_rejected_one_says_what_it_lacks():
    """The context that was asked for, what its cache takes, and what there is for it."""
    demand = Demand(flags=EngineFlags(max_model_len=131072))
    wishes = Wishes(instance_types=("Standard_NC24ads_A100_v4",), node_count=None, most_nodes=1)
    (found,) = ranked("llama-3.3-70b-instruct", demand=demand, wishes=wishes)

    assert "KV cache of 131072 tokens 40.00Gi where 0.00Gi are left" in found.reason
    assert "or a shorter max-model-len" in found.reason


def test_rows_that_differ_in_name_only_are_named_each():
    """What is worked out once for equal hardware still speaks of the instance type asked about."""
    for candidate in ranked("deepseek-v3-0324"):
        others = {sku.name for sku in AZURE} - {candidate.sku.name}
        assert not any(f" {name} " in f" {candidate.reason} ".replace(":", " ") for name in others)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), preset=st.sampled_from(["phi-4", "gpt-oss-120b", "qwen3.5-9b", "deepseek-v3.2"]))
def test_the_order_of_instance_types_does_not_matter(seed: int, preset: str):
    """Shuffled rows are ranked the same."""
    shuffled = list(AZURE)
    random.Random(seed).shuffle(shuffled)
    prices = [price(sku.name, 1.0 + index % 7) for index, sku in enumerate(AZURE) if index % 3]
    asked = {"runtimes": (CUDA, V100), "prices": prices}

    assert candidates(CATALOG.preset(preset), shuffled, **asked) == candidates(CATALOG.preset(preset), AZURE, **asked)


@settings(deadline=None, max_examples=20)
@given(sku=st.sampled_from(AZURE), preset=st.sampled_from(["phi-4", "gpt-oss-20b", "mistral-7b", "gemma-3-4b-it"]))
def test_a_candidate_is_what_the_plan_of_its_instance_type_is(sku: object, preset: str):
    """What is remembered between rows changes nothing."""
    found = named(ranked(preset), sku.name)  # type: ignore[attr-defined]
    alone = plan_inference(CATALOG.preset(preset), found.sku, runtime=found.runtime)

    if isinstance(alone, InferencePlan) and alone.node_count <= Wishes().most_nodes:
        assert found.outcome == alone
    else:
        assert not found.fits


NAMES = [
    "instanceType", "nodes", "tensorParallel", "pipelineParallel", "dataParallel", "dtype", "maxModelLen", "kvTokens",
    "args", "ledger", "fits", "reason", "price",
]  # fmt: skip


def test_the_report_has_the_names_that_machines_read():
    """One entry for each candidate, all with the same names, and the index of the one to take."""
    made = report("phi-4", ranked(prices=[price("Standard_NC24ads_A100_v4", 3.0)]))
    first, last = made["candidates"][0], made["candidates"][-1]

    assert list(made) == ["model", "candidates", "chosen"]
    assert (made["model"], made["chosen"]) == ("phi-4", 0)
    assert all(list(candidate) == NAMES for candidate in made["candidates"])
    assert first["price"] == {"perHour": 3.0, "currency": "USD", "source": "a test", "date": "2026-07-01"}
    assert all(list(entry) == ["entry", "bytes", "formula", "source"] for entry in first["ledger"])
    assert first["args"][:2] == ["--dtype", "bfloat16"]
    assert (last["fits"], last["nodes"], last["ledger"], last["args"], last["price"]) == (False, None, [], [], None)
    assert last["reason"]


@pytest.mark.parametrize("name", ["Standard_NC24ads_A100_v4", "Standard_ND96isr_H200_v5"])
def test_the_ledger_of_a_report_is_within_the_gpu(name: str):
    """Its sum is at most what the engine may take."""
    (found,) = ranked("gpt-oss-20b", wishes=Wishes(instance_types=(name,)))
    made = report("gpt-oss-20b", (found,))["candidates"][0]

    assert isinstance(found.outcome, InferencePlan)
    assert 0 < sum(entry["bytes"] for entry in made["ledger"]) <= found.outcome.available_bytes
