"""The container beside the engine, of the engine's own runtime: it brings what the engine reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inference_server import contract
from kaito_controller.catalog.model import Runtime
from kaito_controller.catalog.placeholders import fill
from kaito_controller.kube.metadata import Object


def agent_container(
    runtime: Runtime,
    parameters: Mapping[str, str],
    *,
    arguments: Sequence[str],
    environment: Sequence[Mapping[str, Any]],
    mounts: Sequence[Mapping[str, Any]],
) -> Object:
    """A sidecar: it starts before the engine, and nothing waits for it, so that both images are pulled and both work.

    `environment` are variables beside the runtime's own. Raises ValueError for a runtime that has no agent.
    """
    container = runtime.agent
    if container is None:
        raise ValueError(f"runtime {runtime.name} has no agent")
    values = {**fill(runtime.environment, parameters), **fill(container.environment, parameters)}
    env: list[Mapping[str, Any]] = [{"name": name, "value": value} for name, value in values.items()]
    made: Object = {
        "name": contract.AGENT_CONTAINER,
        "image": fill(container.image, parameters),
        "imagePullPolicy": runtime.image_pull_policy,
        "command": fill(container.command, parameters),
        "args": list(arguments),
        "env": sorted([*env, *environment], key=lambda variable: str(variable["name"])),
        "ports": [{"name": contract.AGENT_CONTAINER, "containerPort": contract.AGENT_PORT, "protocol": "TCP"}],
        "restartPolicy": "Always",
        "volumeMounts": [dict(mount) for mount in mounts],
        "securityContext": fill(runtime.security_context, parameters),
        # No readiness: what serves the model serves it with or without adapters.
        "livenessProbe": {
            "httpGet": {"path": contract.HEALTH_PATH, "port": contract.AGENT_PORT},
            "periodSeconds": 30,
            "timeoutSeconds": 10,
            "failureThreshold": 10,
        },
    }
    if container.resources:
        made["resources"] = fill(container.resources, parameters)
    return made
