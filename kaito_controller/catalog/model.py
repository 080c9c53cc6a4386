"""What the catalogue knows about models and runtimes, as immutable values. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from attrs import field, frozen

from kaito_controller.catalog.architecture import Architecture
from kaito_controller.catalog.hardware import ComputeCapability
from kaito_controller.catalog.quantisation import Quantisation
from kaito_controller.catalog.tensor import Tensor

# Bytes of one number in each precision a checkpoint of the catalogue is stored or served in.
DTYPE_BYTES: Final[Mapping[str, int]] = {"float32": 4, "bfloat16": 2, "float16": 2}


@frozen(kw_only=True)
class Preset:
    """One model: an entry of the catalogue, or one read from its own files.

    `weights_bytes` is the checkpoint as stored, without copies of it; `dtype` the precision it is computed in;
    `token_limit` the longest context the model was made for, and `unasked_token_limit` the one that the engine starts
    from when none is asked for, where that is shorter (LongRoPE); `revision` what the numbers are of, a commit of the
    hub or a digest; `weights_folder`, where set, the folder below the runtime's parameter `models` that holds a model
    no hub has;
    `engine_arguments` are further options of the engine, without dashes, "true" for one that takes no value; `gated`
    models need a token of their hub. `tensors` are the checkpoint's, where its files were read.
    """

    name: str
    family: str
    model_id: str
    licence: str
    token_limit: int
    dtype: str
    weights_bytes: int
    architecture: Architecture
    parameters: int | None = None
    quantisation: Quantisation | None = None
    unasked_token_limit: int | None = None
    revision: str | None = None
    aliases: tuple[str, ...] = ()
    gated: bool = False
    weights_folder: str | None = None
    engine_arguments: Mapping[str, str] = field(factory=dict)
    sources: tuple[str, ...] = ()
    tensors: tuple[Tensor, ...] = field(default=(), eq=False, repr=False)

    @property
    def commit(self) -> str | None:
        """The commit of the hub to load; None where the revision is a digest of a folder or an artifact, or unknown."""
        return None if self.revision is None or ":" in self.revision else self.revision

    @property
    def names(self) -> tuple[str, ...]:
        """Every name a user may write, the short one first."""
        return (self.name, self.model_id, *self.aliases)


class EngineName(StrEnum):
    """The program of a runtime that runs models, as the annotation kaito.sh/runtime names it."""

    VLLM = "vllm"
    TRANSFORMERS = "transformers"


class EngineDevice(StrEnum):
    """What the engine of a runtime computes on."""

    CUDA = "cuda"
    CPU = "cpu"


@frozen(kw_only=True)
class Accelerator:
    """What a runtime asks of the node it runs on.

    `device` cpu means that the engine uses none of the GPUs a pod holds. `compute_capabilities` are those that its
    programs are compiled for; a program compiled for one runs on later minors of the same major, and one that carries
    the portable form of its code (PTX, `portable_from`) on everything newer.
    """

    device: EngineDevice
    resource: str
    compute_capabilities: tuple[ComputeCapability, ...] = ()
    portable_from: ComputeCapability | None = None

    def contains(self, capability: ComputeCapability) -> bool:
        """Whether the runtime's programs run on GPUs of a generation."""
        if self.portable_from is not None and capability >= self.portable_from:
            return True
        return any(one.major == capability.major and one.minor <= capability.minor for one in self.compute_capabilities)


@frozen(kw_only=True)
class Parameter:
    """A value that the operator's command line gives to a runtime; without `default` it must be given."""

    name: str
    description: str
    default: str | None = None


@frozen(kw_only=True)
class RuntimeContainer:
    """A container of a runtime beside the engine's, with the same volumes, environment and security.

    Of `environment` the container's own values win. Strings may hold `{parameter}`, as in the runtime. `resources`
    are what it asks for beside GPUs, as in `container.resources`.
    """

    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(factory=dict)
    resources: Mapping[str, Any] = field(factory=dict)


@frozen(kw_only=True)
class Runtime:
    """How a model is served: image, command, environment, volumes and security, as the pod's own YAML.

    Strings in `image`, `command`, `environment`, `volumes`, `volume_mounts`, `host_folders` and `annotations` may hold
    `{parameter}`. `engine` is the program that runs models, `engine_version` its release. `engine_arguments` are as in
    a preset, `single_node_arguments` further ones for a model on one node. `planned_context` false lets the engine
    choose the context length itself; `multi_node` says that one model may span nodes. `host_folders` are directories of
    the node, mounted read-only at the path they have there. `agent` is the container that fetches weights and adapters
    beside the engine, `tuning` the one that fine-tunes; None where the runtime has none. `object_storage` says that the
    engine holds what streams weights from S3, Google Cloud Storage and Azure Blob Storage.
    """

    name: str
    description: str
    image: str
    image_pull_policy: str
    command: tuple[str, ...]
    accelerator: Accelerator
    engine: EngineName = EngineName.VLLM
    parameters: tuple[Parameter, ...] = ()
    engine_arguments: Mapping[str, str] = field(factory=dict)
    single_node_arguments: Mapping[str, str] = field(factory=dict)
    environment: Mapping[str, str] = field(factory=dict)
    volumes: tuple[Mapping[str, Any], ...] = ()
    volume_mounts: tuple[Mapping[str, Any], ...] = ()
    host_folders: tuple[str, ...] = ()
    pod_security_context: Mapping[str, Any] = field(factory=dict)
    security_context: Mapping[str, Any] = field(factory=dict)
    annotations: Mapping[str, str] = field(factory=dict)
    models_parameter: str | None = None
    planned_context: bool = True
    multi_node: bool = False
    data_parallel: bool = False
    object_storage: bool = False
    agent: RuntimeContainer | None = None
    tuning: RuntimeContainer | None = None
    engine_version: str | None = None
    sources: tuple[str, ...] = ()

    @property
    def loads_adapters(self) -> bool:
        """Whether its engine takes adapters while it runs, from an agent beside it."""
        return self.engine is EngineName.VLLM and self.agent is not None
