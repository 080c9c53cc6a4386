"""Azure's price API on loopback: its wire format and its paging. The real one cannot be had where tests run."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from attrs import define, field

NAMES = re.compile(r"armSkuName eq '([^']*)'")
REGION = re.compile(r"armRegionName eq '([^']*)'")


def item(name: str, price: float, **more: Any) -> dict[str, Any]:
    """One price, as the API words it: of a Linux machine by the hour, unless told."""
    usual = {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": "westeurope",
        "location": "EU West",
        "effectiveStartDate": "2023-09-01T00:00:00Z",
        "productName": "Virtual Machines NCadsA100v4 Series",
        "skuName": name.removeprefix("Standard_").replace("_", " "),
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": name,
    }
    return usual | more


@define(kw_only=True)
class FakeRetailPrices:
    """Items that match a question's instance types and region, in pages.

    Attributes:
        next_host: where the link to the next page leads, instead of here.
        asked: the path and query of each request.
    """

    items: list[dict[str, Any]] = field(factory=list)
    page: int = 100
    next_host: str = ""
    asked: list[str] = field(init=False, factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        self.asked.append(request.raw_path)
        wanted = request.query.get("$filter", "")
        names, region = set(NAMES.findall(wanted)), REGION.search(wanted)
        if request.path != "/api/retail/prices" or not names:
            return web.Response(status=400)
        found = [one for one in self.items if one["armSkuName"] in names]
        if region is not None:
            found = [one for one in found if one["armRegionName"] == region[1]]
        begin = int(request.query.get("$skip", "0"))
        following = None
        if begin + self.page < len(found):
            link = request.url.update_query({"$skip": begin + self.page})
            following = f"{self.next_host}{link.path_qs}" if self.next_host else str(link)
        page = found[begin : begin + self.page]
        body = {"BillingCurrency": "USD", "Items": page, "NextPageLink": following, "Count": len(page)}
        return web.json_response(body)
