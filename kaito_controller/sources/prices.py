"""What instance types cost: from a file, or from a cloud's price API. None is shipped."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen

from kaito_controller.catalog.fields import CatalogError
from kaito_controller.catalog.hardware import Price
from kaito_controller.catalog.loader import prices_of
from kaito_controller.sources.errors import SourceError, Trouble, malformed, too_large
from kaito_controller.sources.wording import size_text

LIMIT_BYTES: Final = 2**20
"""Some ten thousand prices; reading YAML takes a second for half of that."""


class Prices(Protocol):
    """Somebody who knows prices."""

    async def prices(self, instance_types: Collection[str]) -> tuple[Price, ...]:
        """Those of some instance types, in all regions that are known.

        Raises:
            SourceError: they cannot be read.
        """
        ...


@frozen
class PriceFile:
    """A file of prices, YAML or JSON, as `catalog.prices` describes it."""

    path: Path

    async def prices(self, instance_types: Collection[str]) -> tuple[Price, ...]:
        """Those of some instance types, whose names match in any case."""
        wanted = {name.lower() for name in instance_types}
        found = await asyncio.to_thread(self.all)
        return tuple(price for price in found if price.instance_type.lower() in wanted)

    def all(self) -> tuple[Price, ...]:
        """Every price of the file.

        Raises:
            SourceError: it cannot be read, or is wrong; the message names file, line and field.
        """
        text = self._text()
        try:
            return prices_of(str(self.path), text)
        except CatalogError as error:
            raise malformed(str(error)) from error
        except RecursionError:
            raise malformed(f"{self.path}: must be lists and mappings a few levels deep; found hundreds") from None

    def _text(self) -> str:
        try:
            with self.path.open("rb") as file:
                raw = file.read(LIMIT_BYTES + 1)
            if len(raw) > LIMIT_BYTES:
                raise too_large(f"{self.path}: price files of up to {size_text(LIMIT_BYTES)} are read; it has more")
            return raw.decode("utf-8")
        except OSError as error:
            rule = "must be a file of prices"
            raise SourceError(Trouble.MISSING, f"{self.path}: {rule}; {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise malformed(f"{self.path}: must be UTF-8 text; found another byte at {error.start}") from None
