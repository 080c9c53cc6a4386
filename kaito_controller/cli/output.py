"""Answers for machines."""

from __future__ import annotations

import io
import json
from typing import Any, Final

MACHINES: Final = frozenset({"json", "yaml"})
"""The forms that are not for people."""


def written(value: Any, form: str) -> str:
    """A value as JSON or YAML, fields in the order that they are in."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n" if form == "json" else _yaml(value)


def _yaml(value: Any) -> str:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.default_flow_style = False
    yaml.width = 120
    stream = io.StringIO()
    yaml.dump(value, stream)
    return stream.getvalue()
