"""The floor of a benchmark: the operator's children once more, made by kubectl alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def copy_of(obj: dict[str, Any], renames: Mapping[str, str]) -> dict[str, Any]:
    """The object as nobody's child, with what ``renames`` names called otherwise wherever it stands.

    A ClusterIP is left to the API server, unless the Service is a headless one.
    """
    made = {key: obj[key] for key in ("apiVersion", "kind", "spec")}
    made["metadata"] = {"name": obj["metadata"]["name"], "namespace": "default"}
    text = json.dumps(made)
    for old, new in renames.items():
        text = text.replace(old, new)
    copied: dict[str, Any] = json.loads(text)
    for field in ("clusterIP", "clusterIPs"):
        if copied["spec"].get(field) not in (None, "None", ["None"]):
            copied["spec"].pop(field, None)
    return copied
