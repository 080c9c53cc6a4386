"""The architectures that the pinned vLLM can serve, from the tables of its model registry.

Only the tables are evaluated: importing the registry would import torch and every dependency of the engine.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from codegen import documents

ROOT = Path(__file__).resolve().parents[2]
HEADER: Final = "# Made by hack/codegen/architectures from the pinned vLLM; move the pin, then run that again.\n"
REGISTRY: Final = "model_executor/models/registry.py"
KINDS: Final = {
    "text_generation": "_TEXT_GENERATION_MODELS",
    "multimodal": "_MULTIMODAL_MODELS",
    "transformers": "_TRANSFORMERS_SUPPORTED_MODELS",
    "transformers_backend": "_TRANSFORMERS_BACKEND_MODELS",
    "embedding": "_EMBEDDING_MODELS",
    "late_interaction": "_LATE_INTERACTION_MODELS",
    "reward": "_REWARD_MODELS",
    "token_classification": "_TOKEN_CLASSIFICATION_MODELS",
    "sequence_classification": "_SEQUENCE_CLASSIFICATION_MODELS",
    "draft": "_SPECULATIVE_DECODING_MODELS",
}
ALL: Final = "_VLLM_MODELS"
REMOVED: Final = "_PREVIOUSLY_SUPPORTED_MODELS"
PLUGINS: Final = "_OOT_SUPPORTED_MODELS"
WHERE: Final = """
import importlib.metadata, importlib.util
names = importlib.metadata.packages_distributions()["vllm"]
print(importlib.util.find_spec("vllm").submodule_search_locations[0])
print(importlib.metadata.version(names[0]))
"""


class RegistryError(Exception):
    """vLLM's registry no longer looks as it did; the message says what is missing."""


def tables(source: str) -> dict[str, dict[str, Any]]:
    """The tables of a registry's source, by the names that they have there.

    Raises:
        RegistryError: one is missing, or architectures are in none of them.
    """
    wanted = {*KINDS.values(), ALL, REMOVED, PLUGINS}
    assignments = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in wanted
    ]
    found: dict[str, Any] = {}
    code = compile(ast.Module(body=list(assignments), type_ignores=[]), REGISTRY, "exec")
    exec(code, {"__builtins__": {}}, found)  # noqa: S102 - literals and a comprehension of the pinned engine
    if missing := wanted - found.keys():
        raise RegistryError(f"{REGISTRY}: must have the tables {', '.join(sorted(missing))}; look for their new names")
    if unlisted := found[ALL].keys() - {name for table in KINDS.values() for name in found[table]}:
        raise RegistryError(f"{REGISTRY}: {', '.join(sorted(unlisted))}: in none of the tables that are known here")
    return found


def document(version: str, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The catalogue's file; an architecture of several kinds stands under the first of them."""
    listed: set[str] = set()
    architectures = {}
    for kind, table in KINDS.items():
        architectures[kind] = sorted(found[table].keys() - listed)
        listed |= found[table].keys()
    return {
        "name": "vllm",
        "version": version,
        "source": f"vLLM {version}, vllm/{REGISTRY}",
        "architectures": architectures,
        "removed": dict(sorted(found[REMOVED].items())),
        "plugins": dict(sorted(found[PLUGINS].items())),
    }


def generated(python: Path) -> dict[str, str]:
    """The file, by its path from the root, of the vLLM that an interpreter has."""
    done = subprocess.run([python, "-c", WHERE], check=True, capture_output=True, text=True)
    folder, version = done.stdout.split()
    made = document(version, tables((Path(folder) / REGISTRY).read_text()))
    text = HEADER + documents.yaml_text(made).removeprefix(documents.HEADER)
    return {f"kaito_controller/catalog/engines/vllm-{version}.yaml": text}


def main() -> int:
    """Write the file when it is stale, or with --check tell it and fail."""
    parser = argparse.ArgumentParser(prog="hack/codegen/architectures", description="List what the pinned vLLM serves.")
    parser.add_argument("python", type=Path, help="the interpreter that has vLLM")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is stale")
    arguments = parser.parse_args()
    made = generated(arguments.python)
    if arguments.check:
        found = documents.stale(ROOT, made, ())
        print("\n\n".join(found), end="\n" if found else "")
        return 1 if found else 0
    for path in documents.write(ROOT, made, ()):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
