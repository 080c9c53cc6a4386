"""The command line of hack/codegen/generate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codegen import admission, definitions, deployment, documents, permissions, plans, reference, scenarios

ROOT = Path(__file__).resolve().parents[2]
OWNED = ("config/crd", "config/rbac", "config/admission")
"""Folders that hold nothing but generated files."""


def generated() -> dict[str, str]:
    """Every generated file, by its path from the root."""
    made: dict[str, str] = {}
    for part in (definitions, permissions, admission, deployment, reference, plans, scenarios):
        made |= part.files()
    return made


def main() -> int:
    """Write what is stale, or with --check tell it and fail."""
    what = "Make config/, docs/reference/ and the table of scenarios."
    parser = argparse.ArgumentParser(prog="hack/codegen/generate", description=what)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a generated file is stale")
    if parser.parse_args().check:
        found = documents.stale(ROOT, generated(), OWNED)
        if found:
            print("\n\n".join(found))
            print(f"\n{len(found)} stale: run hack/codegen/generate and commit what it writes", file=sys.stderr)
        return 1 if found else 0
    for path in documents.write(ROOT, generated(), OWNED):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
