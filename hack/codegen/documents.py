"""Writing generated files: YAML in one style, and the comparison that tells a stale file."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HEADER = "# Made by hack/codegen/generate; change the code it is made from, then run that again.\n"


def yaml_text(*documents: Mapping[str, Any]) -> str:
    """The documents as one YAML text under the header, in block style, keys in the order given."""
    yaml = YAML(typ="rt")
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.explicit_start = len(documents) > 1
    stream = io.StringIO()
    yaml.dump_all(documents, stream)
    return HEADER + stream.getvalue()


def kustomization(resources: Iterable[str], **more: Any) -> str:
    """A kustomization of some files or folders."""
    body = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        **more,
        "resources": list(resources),
    }
    return yaml_text(body)


def write(root: Path, files: Mapping[str, str], owned: Iterable[str]) -> list[str]:
    """Write the files under root, remove those of the owned folders that are made no longer; return what changed."""
    changed = []
    for path, text in files.items():
        target = root / path
        if not target.exists() or target.read_text() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            changed.append(path)
    for left_over in _left_over(root, files, owned):
        (root / left_over).unlink()
        changed.append(left_over)
    return changed


def stale(root: Path, files: Mapping[str, str], owned: Iterable[str]) -> list[str]:
    """What `write` would change, each with the first lines of the difference."""
    found = []
    for path, text in files.items():
        target = root / path
        old = target.read_text() if target.exists() else ""
        if old != text:
            lines = difflib.unified_diff(
                old.splitlines(), text.splitlines(), path, f"{path} (made now)", lineterm="", n=1
            )
            found.append("\n".join(list(lines)[:20]))
    found += [f"{path}: is made no longer" for path in _left_over(root, files, owned)]
    return found


def _left_over(root: Path, files: Mapping[str, str], owned: Iterable[str]) -> list[str]:
    present = [path for folder in owned for path in sorted((root / folder).glob("*")) if path.is_file()]
    return [name for name in (str(path.relative_to(root)) for path in present) if name not in files]
