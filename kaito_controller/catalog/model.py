"""What the catalogue knows about models, instance types and runtimes, as immutable values. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from attrs import field, frozen

# Bytes of one number in each precision a checkpoint of the catalogue is stored or served in.
DTYPE_BYTES: Final[Mapping[str, int]] = {"float32": 4, "bfloat16": 2, "float16": 2}


@frozen(kw_only=True)
class Architecture:
    """The numbers of a decoder-only transformer that decide its memory and how it may be split.

    `name` is the class in the model's config.json. `kv_heads` equals `attention_heads` for multi-head attention, 1 for
    multi-query attention. `tied_embeddings` says that input and output embeddings are one matrix in the checkpoint.
    """

    name: str
    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocabulary_size: int
    tied_embeddings: bool = False

    @property
    def embedding_parameters(self) -> int:
        """Numbers in one embedding matrix."""
        return self.vocabulary_size * self.hidden_size


@frozen(kw_only=True)
class Preset:
    """One model that may be named in `inference.preset.name`.

    `weights_bytes` is the checkpoint in `dtype`; `token_limit` the longest context the model was made for;
    `weights_folder`, where set, the folder below the runtime's parameter `models` that holds a model no hub has;
    `engine_arguments` are further options of the engine, without dashes, "true" for one that takes no value; `gated`
    models need a token of their hub.
    """

    name: str
    family: str
    model_id: str
    licence: str
    token_limit: int
    dtype: str
    parameters: int
    weights_bytes: int
    architecture: Architecture
    aliases: tuple[str, ...] = ()
    gated: bool = False
    weights_folder: str | None = None
    engine_arguments: Mapping[str, str] = field(factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name a user may write, the short one first."""
        return (self.name, self.model_id, *self.aliases)


@frozen(kw_only=True, order=True)
class ComputeCapability:
    """A generation of NVIDIA GPUs, such as 8.0; ordered as NVIDIA orders them."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> ComputeCapability:
        """Read `"8.6"`; raises ValueError on anything but two numbers with a dot between."""
        major, dot, minor = text.partition(".")
        if not (dot and major.isdecimal() and minor.isdecimal()):
            raise ValueError(f"'{text}' is no compute capability: write MAJOR.MINOR, for example \"8.0\" with quotes")
        return cls(major=int(major), minor=int(minor))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@frozen(kw_only=True)
class SKU:
    """One instance type: `gpu_count` GPUs of `gpu_memory_bytes` each.

    `compute_capability` is None where the accelerator is not NVIDIA's. `resource` is what a pod requests to get one
    GPU. `gpu_memory_utilization` overrides the engine's usual share where the nominal memory overstates the usable.
    """

    name: str
    cloud: str
    gpu_count: int
    gpu_memory_bytes: int
    gpu_model: str
    resource: str
    compute_capability: ComputeCapability | None = None
    nvme: bool = False
    gpu_memory_utilization: float | None = None
    source: str = ""


class EngineDevice(StrEnum):
    """What the engine of a runtime computes on."""

    CUDA = "cuda"
    CPU = "cpu"


@frozen(kw_only=True)
class Accelerator:
    """What a runtime asks of the node it runs on.

    `device` cpu means that the engine uses none of the GPUs a pod holds. Below `minimum_compute_capability` the engine
    cannot run; below `built_for_compute_capability` it needs an image made for it, and a plan says so.
    """

    device: EngineDevice
    resource: str
    minimum_compute_capability: ComputeCapability | None = None
    built_for_compute_capability: ComputeCapability | None = None


@frozen(kw_only=True)
class Parameter:
    """A value that the operator's command line gives to a runtime; without `default` it must be given."""

    name: str
    description: str
    default: str | None = None


@frozen(kw_only=True)
class Runtime:
    """How a model is served: image, command, environment, volumes and security, as the pod's own YAML.

    Strings in `image`, `command`, `environment`, `volumes`, `volume_mounts`, `host_folders` and `annotations` may hold
    `{parameter}`. `engine_arguments` are as in a preset, `single_node_arguments` further ones for a model on one node.
    `planned_context` false lets the engine choose the context length itself; `multi_node` says that one model may span
    nodes. `host_folders` are directories of the node, mounted read-only at the path they have there.
    """

    name: str
    description: str
    image: str
    image_pull_policy: str
    command: tuple[str, ...]
    accelerator: Accelerator
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
    sources: tuple[str, ...] = ()
