"""Files that other processes read while we write them: each appears whole, with its mode, or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

PRIVATE = 0o600
"""Only the owner reads and writes: keys, kubeconfigs, state."""

READABLE = 0o644
"""Anybody on the machine may read: certificates' public halves in containers, resolver files, manifests."""


def write(path: Path, content: bytes, *, mode: int = PRIVATE) -> Path:
    """Replace `path` atomically by `content` and return it; makes its folder (0700) when missing.

    Raises OSError as the file system does (a full disk leaves the old file in place).
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, document: Any, *, mode: int = PRIVATE) -> Path:
    """Write `document` as indented JSON, which every reader of YAML takes as well."""
    return write(path, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode(), mode=mode)
