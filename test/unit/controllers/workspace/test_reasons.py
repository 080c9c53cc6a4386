"""No reason without a test: what the controller can say is said in some test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kaito_controller.api.reasons import Reason

ROOT = Path(__file__).resolve().parents[4]
SOURCES = sorted((ROOT / "kaito_controller" / "controllers" / "workspace").rglob("*.py"))
TESTS = [
    *(path for path in Path(__file__).parent.glob("test_*.py") if path.name != Path(__file__).name),
    *(ROOT / "test" / "envtest").glob("test_workspace_*.py"),
]


def used():
    """Return the reasons that the controller's code names, but for those that it only keeps quiet about."""
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "events.py")
    return sorted(set(re.findall(r"\bReason\.([A-Z_]+)", text)))


@pytest.mark.parametrize("name", used())
def test_every_reason_is_provoked(name):
    """Each reason that the controller can give is asked for by name or by its wire form in a test."""
    text = "\n".join(path.read_text() for path in TESTS)
    assert f"Reason.{name}" in text or f'"{Reason[name].value}"' in text
