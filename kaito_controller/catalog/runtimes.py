"""Reads `runtimes/<name>.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kaito_controller.catalog.fields import Fields
from kaito_controller.catalog.gpus import read_capability
from kaito_controller.catalog.hardware import ComputeCapability
from kaito_controller.catalog.model import Accelerator, EngineDevice, EngineName, Parameter, Runtime, RuntimeContainer
from kaito_controller.catalog.placeholders import placeholders

_CONTAINERS: Final = ("agent", "tuning")
_FILLED: Final = ("image", "command", "environment", "volumes", "volume_mounts", "host_folders", "annotations")


def read_runtimes(document: Fields) -> Iterator[Runtime]:
    """The one runtime of a file."""
    containers = _containers(document)
    runtime = Runtime(
        name=document.text("name"),
        description=document.text("description"),
        image=document.text("image"),
        image_pull_policy=document.text("image_pull_policy"),
        command=document.texts("command"),
        accelerator=_accelerator(document.mapping("accelerator")),
        engine=_engine(document),
        parameters=tuple(_parameter(entry) for entry in document.mappings("parameters")),
        engine_arguments=document.text_map("engine_arguments"),
        single_node_arguments=document.text_map("single_node_arguments"),
        environment=document.text_map("environment"),
        volumes=tuple(document.plain("volumes") or ()),
        volume_mounts=tuple(document.plain("volume_mounts") or ()),
        host_folders=document.texts("host_folders"),
        pod_security_context=document.plain("pod_security_context") or {},
        security_context=document.plain("security_context") or {},
        annotations=document.text_map("annotations"),
        models_parameter=document.optional_text("models_parameter"),
        planned_context=document.flag("planned_context", default=True),
        multi_node=document.flag("multi_node"),
        data_parallel=document.flag("data_parallel"),
        object_storage=document.flag("object_storage"),
        agent=containers.get("agent"),
        tuning=containers.get("tuning"),
        engine_version=document.optional_text("engine_version"),
        sources=document.texts("sources"),
    )
    document.done()
    _check(document, runtime)
    yield runtime


def _engine(document: Fields) -> EngineName:
    name = document.optional_text("engine") or EngineName.VLLM
    if name not in set(EngineName):
        raise document.problem("engine", f"must be one of {', '.join(EngineName)}")
    return EngineName(name)


def _accelerator(fields: Fields) -> Accelerator:
    device = fields.text("device")
    if device not in set(EngineDevice):
        raise fields.problem("device", f"must be one of {', '.join(EngineDevice)}")
    accelerator = Accelerator(
        device=EngineDevice(device),
        resource=fields.text("resource"),
        compute_capabilities=_capabilities(fields),
        portable_from=read_capability(fields, "portable_from"),
    )
    fields.done()
    if (accelerator.device is EngineDevice.CUDA) != bool(accelerator.compute_capabilities):
        raise fields.error(
            "accelerator.compute_capabilities", "must be listed for device cuda, and for no other", _listed(accelerator)
        )
    return accelerator


def _capabilities(fields: Fields) -> tuple[ComputeCapability, ...]:
    try:
        return tuple(ComputeCapability.parse(text) for text in fields.texts("compute_capabilities"))
    except ValueError:
        raise fields.problem(
            "compute_capabilities", 'must be a list of MAJOR.MINOR in quotes, for example ["8.0", "9.0"]'
        ) from None


def _listed(accelerator: Accelerator) -> str:
    return ", ".join(str(one) for one in accelerator.compute_capabilities) or "none"


def _containers(document: Fields) -> dict[str, RuntimeContainer]:
    """Those beside the engine's, by name; the engine's image is theirs unless they name one."""
    fields = document.optional_mapping("containers")
    if fields is None:
        return {}
    image = document.text("image")
    found = {name: _container(fields.mapping(name), image) for name in _CONTAINERS if fields.has(name)}
    fields.done()
    return found


def _container(fields: Fields, image: str) -> RuntimeContainer:
    container = RuntimeContainer(
        image=fields.text("image", image),
        command=fields.texts("command"),
        environment=fields.text_map("environment"),
        resources=fields.plain("resources") or {},
    )
    fields.done()
    if not container.command:
        raise fields.problem("command", "must hold at least the program")
    return container


def _parameter(fields: Fields) -> Parameter:
    parameter = Parameter(
        name=fields.text("name"), description=fields.text("description"), default=fields.optional_text("default")
    )
    fields.done()
    return parameter


def _check(document: Fields, runtime: Runtime) -> None:
    known = {parameter.name for parameter in runtime.parameters}
    filled: dict[str, Any] = {name: getattr(runtime, name) for name in _FILLED}
    beside = (one for one in (runtime.agent, runtime.tuning) if one is not None)
    filled["containers"] = [(one.image, one.command, one.environment) for one in beside]
    for name, value in filled.items():
        unknown = placeholders(value) - known
        if unknown:
            found = ", ".join(sorted(unknown))
            raise document.problem(name, f"may hold only the runtime's parameters in braces, not {found}")
    if runtime.models_parameter is not None and runtime.models_parameter not in known:
        raise document.problem("models_parameter", "must be one of the runtime's parameters")
    if not runtime.command:
        raise document.problem("command", "must hold at least the program")
