"""Prices: from a file that anybody may write, and from Azure's own list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kaito_controller.catalog.hardware import Price
from kaito_controller.sources.azure_prices import AzurePrices
from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.http import AioWeb
from kaito_controller.sources.prices import PriceFile, Prices
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.retail_prices import FakeRetailPrices, item

A100 = "Standard_NC24ads_A100_v4"
H100 = "Standard_NC40ads_H100_v5"
FILE = f"""
source: https://prices.example.com
date: "2026-07-01"
currency: USD
prices:
  - {{instance_type: {A100}, per_hour: 3.67}}
  - {{instance_type: {A100}, per_hour: 1.2, spot: true, region: westeurope}}
  - {{instance_type: other, per_hour: 1}}
"""


def written(folder: Path, text: str | bytes) -> PriceFile:
    path = folder / "prices.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return PriceFile(path)


async def asked(api: FakeRetailPrices, names: set[str], **options: Any) -> tuple[Price, ...]:
    async with listening(api.answer) as url, AioWeb() as http:
        source: Prices = AzurePrices(web=http, endpoint=url, clock=VirtualClock(), **options)
        return await source.prices(names)


async def refusal(api: FakeRetailPrices, names: set[str] | None = None, **options: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await asked(api, names or {A100}, **options)
    return caught.value


async def test_a_file_says_what_costs_what(tmp_path: Path):
    """By instance type, in any case; with who said so and when."""
    found = await written(tmp_path, FILE).prices({A100.upper()})
    assert [(price.per_hour, price.region, price.spot) for price in found] == [
        (3.67, "", False),
        (1.2, "westeurope", True),
    ]
    assert {(price.currency, price.source, price.date) for price in found} == {
        ("USD", "https://prices.example.com", "2026-07-01")
    }


async def test_a_file_may_be_json(tmp_path: Path):
    """Which is YAML too."""
    entry = {"instance_type": A100, "per_hour": 3}
    text = json.dumps({"source": "x", "date": "2026-07-01", "currency": "USD", "prices": [entry]}, indent=2)
    assert [price.per_hour for price in await written(tmp_path, text).prices({A100})] == [3.0]


@pytest.mark.parametrize(
    ("text", "trouble", "why"),
    [
        (
            FILE.replace("3.67", "-1"),
            Trouble.MALFORMED,
            "prices.yaml:6: prices[0].per_hour: must be a number",
        ),
        (FILE.replace("3.67", ".inf"), Trouble.MALFORMED, "prices.yaml:6: prices[0].per_hour"),
        (FILE.replace("2026-07-01", "July"), Trouble.MALFORMED, "prices.yaml:3: date: must be a date"),
        (FILE.replace("spot", "spott"), Trouble.MALFORMED, "prices.yaml:7: prices[1].spott: is not a field"),
        ("a: [", Trouble.MALFORMED, "must be YAML"),
        (b"\xff", Trouble.MALFORMED, "must be UTF-8 text"),
        ("[" * 5000, Trouble.MALFORMED, "must be"),
        (" " * (2**20 + 1), Trouble.TOO_LARGE, "price files of up to 1.0 MiB are read"),
    ],
)
async def test_a_wrong_file_names_file_line_and_field(tmp_path: Path, text: str | bytes, trouble: Trouble, why: str):
    """Whoever wrote it can mend it."""
    with pytest.raises(SourceError) as caught:
        await written(tmp_path, text).prices({A100})
    assert caught.value.trouble is trouble
    assert why in str(caught.value)


async def test_an_absent_file_is_told(tmp_path: Path):
    """In the system's words."""
    with pytest.raises(SourceError, match="must be a file of prices; No such file") as caught:
        await PriceFile(tmp_path / "absent").prices({A100})
    assert caught.value.trouble is Trouble.MISSING


async def test_azure_s_prices_are_those_of_linux_machines_by_the_hour():
    """Neither Windows, nor low priority, nor a reservation for years."""
    api = FakeRetailPrices(
        items=[
            item(A100, 3.67),
            item(A100, 9.99, productName="Virtual Machines NCadsA100v4 Series Windows"),
            item(A100, 0.73, skuName="NC24ads A100 v4 Low Priority"),
            item(A100, 1.20, skuName="NC24ads A100 v4 Spot"),
            item(A100, 20000, type="Reservation", reservationTerm="1 Year"),
            item(A100, 30, unitOfMeasure="1/Month"),
            item(A100, 0.0, skuName="NC24ads A100 v4 Expired"),
            item(A100, 4.10, armRegionName="eastus"),
            item("Standard_D2s_v5", 0.1),
        ]
    )
    found = await asked(api, {A100, H100})
    assert [(price.region, price.spot, price.per_hour) for price in found] == [
        ("eastus", False, 4.10),
        ("westeurope", False, 3.67),
        ("westeurope", True, 1.20),
    ]
    assert {(price.source[:10], price.source[-10:], price.date, price.cloud) for price in found} == {
        ("127.0.0.1:", "2023-09-01", "2026-01-01", "azure")
    }


async def test_of_two_prices_the_newer_counts():
    """The list keeps old ones."""
    items = [item(A100, 5.0, effectiveStartDate="2025-01-01T00:00:00Z"), item(A100, 3.0)]
    for order in (items, items[::-1]):
        assert [price.per_hour for price in await asked(FakeRetailPrices(items=order), {A100})] == [5.0]


async def test_all_pages_of_all_questions_are_read():
    """A question names some twenty instance types; an answer has some hundred items."""
    names = {f"Standard_X{number}" for number in range(45)}
    api = FakeRetailPrices(items=[item(name, 1.0) for name in sorted(names)], page=7)
    assert {price.instance_type for price in await asked(api, names)} == names
    assert len(api.asked) == 7


async def test_a_region_limits_the_question():
    """And what is no instance type of Azure is not asked for."""
    api = FakeRetailPrices(items=[item(A100, 3.0), item(A100, 4.0, armRegionName="eastus")])
    found = await asked(api, {A100, "g5.xlarge", "x' or 1 eq 1"}, region="eastus")
    assert [price.per_hour for price in found] == [4.0]
    assert "g5" not in api.asked[0]
    assert await asked(api, {"g5.xlarge"}) == ()


async def test_pages_do_not_lead_to_another_host():
    """Nor on for ever."""
    api = FakeRetailPrices(items=[item(A100, 1.0, armRegionName=f"r{number}") for number in range(60)], page=1)
    assert "up to 50 pages are read" in str(await refusal(api))
    api.next_host = "http://elsewhere.example"
    assert "NextPageLink must be a page of 127.0.0.1" in str(await refusal(api))


async def test_questions_that_cannot_be_asked_are_refused():
    """A region is a word of its own in the filter."""
    assert "must be plain names" in str(await refusal(FakeRetailPrices(), region="x' or 1 eq 1"))


@pytest.mark.parametrize("price", [True, "3", None, 0, -1, 1e400, {"a": 1}])
async def test_items_without_a_price_are_none(price: Any):
    """What the API may send besides."""
    api = FakeRetailPrices(items=[item(A100, 1.0, retailPrice=price if price != 1e400 else 1e300)])
    assert await asked(api, {A100}) == ()
