"""Secrets that open registries, as folders of a container: one each, below the contract's SECRETS_DIRECTORY."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from inference_server import contract
from kaito_controller.kube.metadata import Object


def secret_volumes(prefix: str, names: Iterable[str]) -> tuple[list[dict[str, Any]], list[Object]]:
    """Volumes, named `prefix` and a number, and mounts of Secrets, in the order given, each once.

    Only the keys that registries are opened with are shown. All is optional: a kubelet waits for a missing Secret
    without a word, while the process that looks for it says which one is missing.
    """
    volumes: list[dict[str, Any]] = []
    mounts: list[Object] = []
    keys = (contract.SECRET_DOCKER_CONFIG, contract.SECRET_CERTIFICATE)
    for index, name in enumerate(dict.fromkeys(name for name in names if name)):
        shown = [{"key": key, "path": key} for key in keys]
        volumes.append({"name": f"{prefix}-{index}", "secret": {"secretName": name, "items": shown, "optional": True}})
        folder = f"{contract.SECRETS_DIRECTORY}/{name}"
        mounts.append({"name": f"{prefix}-{index}", "mountPath": folder, "readOnly": True})
    return volumes, mounts
