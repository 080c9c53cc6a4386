"""Which of several prices of an instance type counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from kaito_controller.catalog.hardware import Price


def lowest_prices(prices: Iterable[Price], *, spot: bool = False, regions: Collection[str] = ()) -> dict[str, Price]:
    """The lowest price of each instance type, by its name in lower case; of equal ones the newest.

    `spot` takes prices of spot capacity instead of the others; `regions` are those that count, and any where there are
    none. A price that names no region counts everywhere.
    """
    best: dict[str, Price] = {}
    for price in prices:
        if price.spot is not spot or (regions and price.region and price.region not in regions):
            continue
        name = price.instance_type.lower()
        if name not in best or _order(price) < _order(best[name]):
            best[name] = price
    return best


def _order(price: Price) -> tuple[float, tuple[int, ...]]:
    return price.per_hour, tuple(-int(part) for part in price.date.split("-"))
