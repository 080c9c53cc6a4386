"""Azure's retail prices, as its public API gives them to anybody.

GET /api/retail/prices?$filter=... answers {"Items": [...], "NextPageLink": ...}. Source: Microsoft, "Azure Retail
Prices overview". The real service cannot be had where this is developed: what the tests ask speaks its wire format.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from attrs import field, frozen

from kaito_controller.catalog.hardware import Price
from kaito_controller.machinery.clock import Clock, RealClock
from kaito_controller.sources.errors import malformed, too_large
from kaito_controller.sources.json_text import decode_object
from kaito_controller.sources.web import Ask, Web, host_of, origin
from kaito_controller.sources.wording import shown

ENDPOINT: Final = "https://prices.azure.com"
VERSION: Final = "2023-01-01-preview"
NAMES: Final = 20
"""Instance types in one question, so that the filter stays short of what a URL may have."""
PAGES: Final = 50
PAGE_LIMIT_BYTES: Final = 4 * 2**20
"""A page has 100 or 1000 items of some 700 bytes."""
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
HOURLY: Final = "1 Hour"
OTHER_OFFERS: Final = ("Low Priority", "Expired")
CLOUD: Final = "azure"
AMOUNT_LIMIT: Final = 1e9


@frozen(kw_only=True)
class AzurePrices:
    """Pay-as-you-go and spot prices of Linux machines; `region` limits them to one, such as westeurope."""

    web: Web
    region: str = ""
    currency: str = "USD"
    endpoint: str = ENDPOINT
    clock: Clock = field(factory=RealClock, repr=False)

    async def prices(self, instance_types: Collection[str]) -> tuple[Price, ...]:
        """Those of some instance types; names that are not Azure's have none.

        Raises:
            SourceError: the API cannot be asked, or answers otherwise than it should.
        """
        if not all(NAME.fullmatch(word) for word in (self.region or "any", self.currency)):
            rule = "region and currency must be plain names, such as westeurope and USD"
            raise malformed(f"prices of Azure: {rule}; found {shown(self.region)} and {shown(self.currency)}")
        names = sorted(name for name in instance_types if NAME.fullmatch(name))
        found: dict[tuple[str, str, bool], tuple[str, Price]] = {}
        for begin in range(0, len(names), NAMES):
            async for item in self._items(names[begin : begin + NAMES]):
                self._add(found, item)
        return tuple(price for _, (_, price) in sorted(found.items()))

    def _add(self, found: dict[tuple[str, str, bool], tuple[str, Price]], item: Mapping[str, Any]) -> None:
        """Keep the item's price, unless it is no machine's by the hour or a newer one is known."""
        price = self._price(item)
        if price is None:
            return
        key, since = (price.instance_type, price.region, price.spot), str(item.get("effectiveStartDate") or "")
        if key not in found or found[key][0] < since:
            found[key] = (since, price)

    async def _items(self, names: Sequence[str]) -> AsyncIterator[Mapping[str, Any]]:
        url = self._question(names)
        for _ in range(PAGES):
            page = await self._page(url)
            items = page.get("Items")
            if not isinstance(items, list):
                raise malformed(f"prices of Azure: Items must be a list; found {shown(items)}")
            for item in items:
                if isinstance(item, dict):
                    yield item
            following = page.get("NextPageLink")
            if not following:
                return
            url = self._same_service(following)
        raise too_large(f"prices of Azure: up to {PAGES} pages are read; there are more: name a region")

    def _question(self, names: Sequence[str]) -> str:
        machines = " or ".join(f"armSkuName eq '{name}'" for name in names)
        conditions = ["serviceName eq 'Virtual Machines'", "priceType eq 'Consumption'", f"({machines})"]
        if self.region:
            conditions.append(f"armRegionName eq '{self.region}'")
        wanted = quote(" and ".join(conditions), safe="'()")
        return (
            f"{self.endpoint}/api/retail/prices?api-version={VERSION}&currencyCode='{self.currency}'&$filter={wanted}"
        )

    def _same_service(self, link: Any) -> str:
        """The next page, which must be the same service's: an answer must not send us elsewhere."""
        try:
            if isinstance(link, str) and origin(link) == origin(self.endpoint):
                return link.replace(" ", "%20")
        except ValueError:
            pass
        raise malformed(f"prices of Azure: NextPageLink must be a page of {host_of(self.endpoint)}; found another")

    async def _page(self, url: str) -> Mapping[str, Any]:
        answer = await self.web.get(Ask(url=url, what="prices of Azure", limit_bytes=PAGE_LIMIT_BYTES))
        if answer.status != HTTPStatus.OK:
            raise malformed(f"prices of Azure: {host_of(self.endpoint)} refuses the question ({answer.status})")
        return decode_object(answer.body, what="prices of Azure")

    def _price(self, item: Mapping[str, Any]) -> Price | None:
        """The price of an item; None for another operating system, offer or unit."""
        sku, product = str(item.get("skuName") or ""), str(item.get("productName") or "")
        other = "Windows" in product or any(offer in sku for offer in OTHER_OFFERS)
        if other or item.get("unitOfMeasure") != HOURLY or item.get("type") != "Consumption":
            return None
        amount, name = _amount(item.get("retailPrice")), item.get("armSkuName")
        if amount is None or not isinstance(name, str) or not NAME.fullmatch(name):
            return None
        return Price(
            instance_type=name,
            per_hour=amount,
            currency=str(item.get("currencyCode") or self.currency),
            source=f"{host_of(self.endpoint)}, in force since {str(item.get('effectiveStartDate') or 'unknown')[:10]}",
            date=self.clock.now().date().isoformat(),
            cloud=CLOUD,
            region=str(item.get("armRegionName") or ""),
            spot="Spot" in sku,
        )


def _amount(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < AMOUNT_LIMIT:
        return None
    return float(value)
