"""`python -m inference_server.serve.options`: the engine's options as JSON, sorted by name, to compare versions by.

A version of vLLM that renames or drops an option breaks users' files and the catalogue; the difference of two such
lists shows it before a pod does.
"""

from __future__ import annotations

import json
import sys
from argparse import Action
from collections.abc import Sequence
from typing import Any, Final

from inference_server.serve.engine import Engine

# A default that is none of these is an object of vLLM, whose text changes with every field it gains.
PLAIN: Final = (str, int, float, bool, type(None))


def described(actions: Sequence[Action]) -> dict[str, dict[str, Any]]:
    """Each option under its long name without dashes: its other names, whether values follow, choices, default."""
    found = {}
    for action in actions:
        names = [name.removeprefix("--") for name in action.option_strings if name.startswith("--")]
        if not names or names == ["help"]:
            continue
        entry: dict[str, Any] = {"values": _values(action)}
        others = sorted([*names[1:], *(name for name in action.option_strings if not name.startswith("--"))])
        if others:
            entry["also"] = others
        if action.choices is not None:
            entry["choices"] = sorted(str(choice) for choice in action.choices)
        if action.default not in (None, [], {}):
            entry["default"] = _plain(action.default)
        found[names[0].replace("_", "-")] = entry
    return dict(sorted(found.items()))


def _values(action: Action) -> str:
    if action.nargs == 0:
        return "none"
    return {"+": "some", "*": "any", "?": "optional"}.get(str(action.nargs), "one")


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set):
        return sorted(str(one) for one in value)
    return value if type(value) in PLAIN else type(value).__name__


if __name__ == "__main__":
    json.dump(described(Engine().actions), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
