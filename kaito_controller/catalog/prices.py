"""Reads a price file: what nodes cost an hour, who said so and when. None is shipped.

::

    source: https://prices.example.com
    date: "2026-07-01"
    currency: USD
    prices:
      - {instance_type: Standard_NC24ads_A100_v4, per_hour: 3.67}
      - {instance_type: Standard_NC24ads_A100_v4, per_hour: 1.2, spot: true, region: westeurope}
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from kaito_controller.catalog.fields import Fields
from kaito_controller.catalog.hardware import Price


def read_prices(document: Fields) -> Iterator[Price]:
    """The prices of one file."""
    source = document.text("source")
    currency = document.text("currency")
    when = _date(document)
    cloud = document.optional_text("cloud") or ""
    for entry in document.mappings("prices"):
        yield Price(
            instance_type=entry.text("instance_type"),
            per_hour=entry.price("per_hour"),
            currency=entry.text("currency", currency),
            source=entry.text("source", source),
            date=_date(entry) if entry.has("date") else when,
            cloud=cloud,
            region=entry.optional_text("region") or "",
            spot=entry.flag("spot"),
        )
        entry.done()
    document.done()


def _date(fields: Fields) -> str:
    text = fields.text("date")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise fields.problem("date", 'must be a date in quotes, for example "2026-07-01"') from None
