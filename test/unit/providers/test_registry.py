"""Choosing a provider."""

from __future__ import annotations

import subprocess
import sys

OPEN_WITHOUT_CRYPTOGRAPHY = """
import sys
sys.modules["cryptography"] = None
from kaito_controller.providers.registry import ProviderContext, open_provider
try:
    open_provider("local", ProviderContext(client=None, cache=None, clock=None, catalog=None))
except ValueError as error:
    print(error)
"""


def test_a_missing_package_is_told_with_what_installs_it():
    """`pip install .` leaves out what only one cloud needs; choosing that cloud names the extra."""
    done = subprocess.run([sys.executable, "-c", OPEN_WITHOUT_CRYPTOGRAPHY], capture_output=True, text=True, check=True)
    assert "the package cryptography is missing" in done.stdout
    assert "pip install 'kaito-controller[local]'" in done.stdout
