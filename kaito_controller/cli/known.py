"""The catalogue, read once however often it is asked for."""

from __future__ import annotations

from functools import cache

from kaito_controller.catalog import loader
from kaito_controller.catalog.loader import Catalog


@cache
def known() -> Catalog:
    """What the package knows of models, instance types and runtimes."""
    return loader.load()
