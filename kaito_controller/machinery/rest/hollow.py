"""Importing a submodule of a package without what the package's own `__init__` imports."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def hollow(package: str) -> Iterator[ModuleType | None]:
    """Have a package in `sys.modules` without running its `__init__`, for as long as the context lasts.

    A package's `__init__` runs only when the package is not in `sys.modules`, and a module made from its spec has the
    `__path__` that importing its submodules needs. Afterwards the hollow package is taken out again, so that whoever
    imports it in this process later gets it whole. Yields None when somebody has imported it already.

    Raises:
        ModuleNotFoundError: there is no such package.
    """
    if package in sys.modules:
        yield None
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"the Python package {package} is not installed", name=package)
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    try:
        yield module
    finally:
        del sys.modules[package]
