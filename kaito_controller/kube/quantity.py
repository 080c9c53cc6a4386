"""Kubernetes quantities ("500m", "80Gi"): reading with the kubernetes package's own code, and writing byte counts."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import cast

# The grammar of resource.Quantity (kubernetes API conventions): the package's parser is laxer (NaN, 1_000, blanks).
_GRAMMAR = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,3})?", re.ASCII)

_BINARY_UNITS = ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki")

PATTERN = r"^[+-]?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?[0-9]{1,3}))?$"
"""The same grammar for a CRD schema."""


@cache
def _parser() -> Callable[[str], Decimal]:
    """`kubernetes.utils.quantity.parse_quantity`, loaded from its file alone.

    Importing it by name runs `kubernetes/__init__`, which imports some 700 generated models; the module itself needs
    only `decimal`.
    """
    package = importlib.util.find_spec("kubernetes")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("the kubernetes package is missing: install the operator's requirements")
    path = Path(package.submodule_search_locations[0]) / "utils" / "quantity.py"
    spec = importlib.util.spec_from_file_location("kaito_controller.kube._parse_quantity", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path}: not loadable")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("Callable[[str], Decimal]", module.parse_quantity)


def parse(quantity: str | int) -> Decimal:
    """The number that a quantity stands for, in its base unit (bytes, cores, pieces).

    Raises:
        ValueError: not a quantity.
    """
    text = str(quantity)
    if isinstance(quantity, bool) or not _GRAMMAR.fullmatch(text):
        raise ValueError(
            f"quantity: must be a number with an optional unit such as 500m, 80Gi or 1e3; found {quantity!r}"
        )
    return _parser()(text)


def to_bytes(quantity: str | int) -> int:
    """A quantity as a whole number, rounded up as Kubernetes does.

    Raises:
        ValueError: not a quantity.
    """
    return math.ceil(parse(quantity))


def format_bytes(count: int) -> str:
    """The shortest exact form of a byte count: 85899345920 is "80Gi", 1000 is "1000"."""
    for power, unit in zip(range(6, 0, -1), _BINARY_UNITS, strict=True):
        whole, rest = divmod(count, 1024**power)
        if whole and not rest:
            return f"{whole}{unit}"
    return str(count)
