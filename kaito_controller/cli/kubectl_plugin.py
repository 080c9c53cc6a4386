"""``kubectl kaito``: what the catalogue knows and how a Workspace would be planned, without a cluster."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog import loader
from kaito_controller.catalog.loader import Catalog
from kaito_controller.controllers.workspace.plan import Plan, Settings, plan_workspace
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube import metadata, serde
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.memory import GIB

UNKNOWN_UID = "00000000-0000-0000-0000-000000000000"


class PluginError(Exception):
    """What the user gave cannot be used; one line that says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 when a plan is blocked or a file unusable, 2 for usage."""
    parsed = _parser().parse_args(arguments)
    catalog = loader.load()
    try:
        lines = parsed.command(parsed, catalog)
    except PluginError as error:
        print(f"kubectl kaito: {error}", file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl kaito", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    presets = commands.add_parser("presets", aliases=["models"], help="models that inference.preset.name may be")
    presets.set_defaults(command=_presets)
    skus = commands.add_parser("skus", help="instance types that resource.instanceType may be")
    skus.set_defaults(command=_skus)
    plan = commands.add_parser("plan", help="how a Workspace would be served, and why")
    plan.add_argument("-f", "--filename", type=Path, required=True, metavar="FILE")
    plan.set_defaults(command=_plan)
    return parser


def _presets(_: argparse.Namespace, catalog: Catalog) -> Iterable[str]:
    rows = [
        (one.name, one.family, one.model_id, f"{one.weights_bytes / GIB:.1f}Gi", str(one.token_limit), _mark(one.gated))
        for one in sorted(catalog.presets, key=lambda one: one.name)
    ]
    return _table(("NAME", "FAMILY", "MODEL", "WEIGHTS", "TOKENS", "GATED"), rows)


def _skus(_: argparse.Namespace, catalog: Catalog) -> Iterable[str]:
    rows = [
        (one.name, one.cloud, str(one.gpu_count), one.gpu_model, f"{one.gpu_memory_bytes / GIB:g}Gi", _mark(one.nvme))
        for one in sorted(catalog.skus, key=lambda one: (one.cloud, one.name))
    ]
    return _table(("NAME", "CLOUD", "GPUS", "GPU", "MEMORY", "NVME"), rows)


def _plan(parsed: argparse.Namespace, catalog: Catalog) -> Iterable[str]:
    documents = _documents(parsed.filename)
    raw = _workspace_among(documents, parsed.filename)
    runtime = catalog.runtime("vllm-cuda")
    parameters = {parameter.name: parameter.default or "" for parameter in runtime.parameters}
    made = plan_workspace(_snapshot(raw, documents), catalog, Settings(runtime=runtime, runtime_parameters=parameters))
    if isinstance(made, Blocked):
        raise PluginError(f"{made.reason}: {made.message}")
    return _explained(made)


def _documents(path: Path) -> list[Object]:
    """Return the objects of a file. Raises `PluginError`."""
    try:
        found = list(YAML(typ="safe", pure=True).load_all(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise PluginError(f"{path}: cannot be read ({error.strerror}).") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise PluginError(f"{path}: must be YAML ({' '.join(str(error).split())}).") from error
    return [document for document in found if isinstance(document, dict)]


def _workspace_among(documents: Iterable[Object], path: Path) -> Object:
    """Return the first Workspace, with what a cluster would give it. Raises `PluginError`."""
    for document in documents:
        if document.get("kind") == "Workspace":
            given: dict[str, Any] = document.get("metadata") or {}
            return {**document, "metadata": {"namespace": "default", "uid": UNKNOWN_UID, **given}}
    raise PluginError(f"{path}: holds no Workspace.")


def _snapshot(raw: Object, documents: Iterable[Object]) -> Snapshot:
    """Return what would be gathered if the file were applied: the Workspace, and its ConfigMap when it is beside it."""
    try:
        workspace = serde.structure(Workspace, raw)
    except serde.SerdeError as error:
        return Snapshot(raw=raw, workspace=None, malformed=str(error))
    name = workspace.inference.config if workspace.inference is not None else ""
    maps = (one for one in documents if one.get("kind") == "ConfigMap" and metadata.name(one) == name)
    return Snapshot(raw=raw, workspace=workspace, config=next(maps, None))


def _explained(made: Plan) -> Iterable[str]:
    sized = made.inference
    yield f"{made.preset.name} ({made.preset.model_id}) on {made.node_count} of {made.sku.name} ({made.sku.gpu_model})"
    yield f"each node: {sized.gpus_per_node} GPU(s), {sized.dtype}, context of {sized.max_model_len} tokens"
    yield f"split: tensor {sized.tensor_parallel}, pipeline {sized.pipeline_parallel}, data {sized.data_parallel}"
    yield f"one GPU has {sized.available_bytes / GIB:.2f}Gi for the model ({sized.gpu_memory_utilization:g} of it):"
    rows = [(entry.entry, f"{entry.bytes / GIB:.2f}Gi", entry.formula) for entry in sized.ledger]
    yield from (f"  {line}" for line in _table(("ENTRY", "SIZE", "FORMULA"), rows))
    container = made.stateful_set["spec"]["template"]["spec"]["containers"][0]
    yield f"arguments: {' '.join(container['args'])}"
    yield from (f"note: {note}" for note in sized.notes)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _mark(holds: bool) -> str:
    return "yes" if holds else ""


if __name__ == "__main__":
    sys.exit(main())
