"""`kaito.sh` Workspace: one model to serve or to tune, and the nodes it runs on.

The same schema is served as v1alpha1 and v1beta1 (stored), so that no field is lost between them. Rules that the API
server checks are in `workspace_rules`; what it cannot know is in `validation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from kaito_controller.api import workspace_rules as cel
from kaito_controller.api.plan import PlanStatus
from kaito_controller.api.tuning import TuningStatus
from kaito_controller.kube.conditions import Condition
from kaito_controller.kube.declaration import rules, schema
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.kube.resource import Resource
from kaito_controller.kube.selectors import LabelSelector

WORKSPACES = Resource(group="kaito.sh", version="v1beta1", kind="Workspace", plural="workspaces", namespaced=True)
WORKSPACES_V1ALPHA1 = Resource(
    group="kaito.sh", version="v1alpha1", kind="Workspace", plural="workspaces", namespaced=True
)

NAME_LENGTH = cel.NAME_LENGTH


@rules(*cel.PARTITION)
@frozen(kw_only=True)
class PartitionSpec:
    """A part of a node's GPUs."""

    mode: str = field(
        metadata=schema(
            "`mig`: one MIG slice of a GPU. `accelerator`: some of the node's whole GPUs.", enum=("mig", "accelerator")
        )
    )
    profile: str = field(
        default="", metadata=schema("The MIG profile, such as `1g.10gb`; mode mig only.", max_length=32)
    )
    count: int | None = field(
        default=None, metadata=schema("How many whole GPUs; mode accelerator only.", minimum=1, maximum=1024)
    )


@rules(*cel.RESOURCE)
@frozen(kw_only=True)
class ResourceSpec:
    """The nodes that the workload runs on."""

    count: int | None = field(
        default=None,
        metadata=schema(
            "Number of nodes. Left out or 1, the plan decides how many the model needs; above 1 it is honoured, and"
            " refused when the model needs more.",
            rules=cel.COUNT,
            maximum=1024,
        ),
    )
    instance_type: str = field(
        default="",
        metadata=schema(
            "Instance type of the cloud, such as `Standard_NC24ads_A100_v4`: nodes of it are made for this Workspace."
            " Left out, existing nodes are used. It cannot be changed once set.",
            max_length=128,
        ),
    )
    label_selector: LabelSelector = field(
        factory=LabelSelector,
        metadata=schema(
            "Labels that the nodes carry; nodes made for this Workspace get them. Required; it cannot be changed.",
            always=True,
            map_type="atomic",
            rules=cel.SELECTOR,
        ),
    )
    preferred_nodes: tuple[str, ...] = field(
        default=(),
        metadata=schema(
            "Deprecated, has no effect: use `labelSelector`.",
            max_items=256,
            item={"max_length": 253},
            list_type="atomic",
        ),
    )
    partition: PartitionSpec | None = field(
        default=None,
        metadata=schema(
            "Use a part of each node's GPUs; existing nodes only. It cannot be changed. Without effect in this version."
        ),
    )


@frozen(kw_only=True)
class PresetOptions:
    """How the preset's files are reached."""

    image: str = field(default="", metadata=schema("Deprecated, has no effect.", max_length=1024))
    image_pull_secrets: tuple[str, ...] = field(
        default=(),
        metadata=schema(
            "Secrets in this namespace that open the registry of weights that are an OCI artifact or image; without"
            " effect for others.",
            max_items=16,
            item={"max_length": 253},
            list_type="atomic",
            rules=cel.SECRET_NAMES,
        ),
    )
    model_access_secret: str = field(
        default="",
        metadata=schema(
            "Secret in this namespace whose key `HF_TOKEN` opens a gated model. Of weights in object storage, the one"
            " whose keys are the variables that the storage's clients read.",
            max_length=253,
            rules=cel.SECRET_NAME,
        ),
    )


@frozen(kw_only=True)
class PresetSpec:
    """A model of the catalogue."""

    name: str = field(
        metadata=schema(
            "Name of a model of the catalogue, such as `phi-4-mini-instruct`; or any model of the hub as"
            " `organisation/model`, with `@revision` if it must be that one; or an OCI artifact of a registry as"
            " `oci://registry/name:tag`.",
            max_length=512,
            rules=cel.PRESET_NAME,
        )
    )
    access_mode: str = field(
        default="public",
        metadata=schema("Deprecated, has no effect.", default="public", enum=("public", "private")),
    )
    preset_options: PresetOptions = field(factory=PresetOptions, metadata=schema("How the preset's files are reached."))


@rules(*cel.DATA_SOURCE)
@frozen(kw_only=True)
class DataSource:
    """Where data comes from: exactly one of URLs, a volume and an image."""

    name: str = field(default="", metadata=schema("Name of the data; an adapter's name in requests.", max_length=253))
    urls: tuple[str, ...] = field(
        default=(),
        metadata=schema(
            "Files to download over http or https; of an adapter one repository of a hub, `hf://organisation/name` with"
            " or without `@revision`.",
            max_items=32,
            item={"max_length": 2048},
            list_type="atomic",
            rules=cel.URLS,
        ),
    )
    volume_source: Mapping[str, Any] | None = field(
        default=None,
        metadata=schema("A pod volume, as in `pod.spec.volumes[]` without the name.", preserve_unknown=True),
    )
    image: str = field(
        default="", metadata=schema("An OCI image that holds the data.", max_length=1024, rules=cel.IMAGE)
    )
    image_pull_secrets: tuple[str, ...] = field(
        default=(),
        metadata=schema(
            "Secrets in this namespace that open the image's registry.",
            max_items=16,
            item={"max_length": 253},
            list_type="atomic",
            rules=cel.SECRET_NAMES,
        ),
    )


@rules(*cel.DATA_DESTINATION)
@frozen(kw_only=True)
class DataDestination:
    """Where a result goes: exactly one of a volume and an image."""

    volume_source: Mapping[str, Any] | None = field(
        default=None,
        metadata=schema("A pod volume, as in `pod.spec.volumes[]` without the name.", preserve_unknown=True),
    )
    image: str = field(
        default="", metadata=schema("The OCI image to push the result as.", max_length=1024, rules=cel.IMAGE)
    )
    image_push_secret: str = field(
        default="",
        metadata=schema(
            "Secret in this namespace that opens the image's registry for writing.",
            max_length=253,
            rules=cel.SECRET_NAME,
        ),
    )


@rules(*cel.ADAPTER)
@frozen(kw_only=True)
class AdapterSpec:
    """A LoRA adapter beside the model."""

    source: DataSource | None = field(
        default=None, metadata=schema("Where the adapter comes from: an image, a volume or a hub. Required.")
    )
    strength: str | None = field(
        default=None,
        metadata=schema("How strongly it acts, a number from 0 to 1 in quotes.", max_length=16, rules=cel.STRENGTH),
    )


@rules(*cel.INFERENCE)
@frozen(kw_only=True)
class InferenceSpec:
    """A model to serve: exactly one of a preset and a pod template."""

    preset: PresetSpec | None = field(
        default=None, metadata=schema("The model of the catalogue to serve. It cannot be changed.")
    )
    template: Mapping[str, Any] | None = field(
        default=None,
        metadata=schema(
            "A pod of your own instead of a preset, as in `pod.metadata` and `pod.spec`. Without effect in this"
            " version.",
            preserve_unknown=True,
        ),
    )
    config: str = field(
        default="",
        metadata=schema(
            "ConfigMap in this namespace whose key `inference_config.yaml` holds options of the model server.",
            max_length=253,
            rules=cel.CONFIG_MAP_NAME,
        ),
    )
    adapters: tuple[AdapterSpec, ...] = field(
        default=(),
        metadata=schema(
            "LoRA adapters beside the model, at most 10. A request names one as its `model`. They are added, replaced"
            " and removed while the engine runs.",
            max_items=64,
            list_type="atomic",
            rules=cel.ADAPTERS,
        ),
    )


@rules(*cel.TUNING)
@frozen(kw_only=True)
class TuningSpec:
    """A model to fine-tune."""

    preset: PresetSpec | None = field(
        default=None, metadata=schema("The model of the catalogue to tune. Required; it cannot be changed.")
    )
    method: str = field(
        default="",
        metadata=schema("`lora` or `qlora`. Required; it cannot be changed.", max_length=16, rules=cel.METHOD),
    )
    config: str = field(
        default="",
        metadata=schema(
            "ConfigMap in this namespace whose key `training_config.yaml` holds the training options.",
            max_length=253,
            rules=cel.CONFIG_MAP_NAME,
        ),
    )
    input: DataSource = field(metadata=schema("The data to learn from."))
    output: DataDestination = field(metadata=schema("Where the adapter goes."))


@frozen(kw_only=True)
class PerformanceMetric:
    """One measured figure."""

    description: str = field(metadata=schema("What was measured, and how.", max_length=1024))
    value: str = field(metadata=schema("The figure, as a decimal number.", max_length=64))
    unit: str = field(default="", metadata=schema("The figure's unit.", max_length=64))
    config: Mapping[str, str] = field(
        factory=dict,
        metadata=schema("What it was measured with.", max_properties=64, item={"max_length": 1024}),
    )


@frozen(kw_only=True)
class PerformanceStatus:
    """What the model server can do, as measured."""

    metrics: Mapping[str, PerformanceMetric] = field(
        factory=dict, metadata=schema("Figures by name.", max_properties=64)
    )


@frozen(kw_only=True)
class AdapterStatus:
    """Where one adapter stands, from what the engine itself lists."""

    name: str = field(metadata=schema("As in `inference.adapters[].source.name`.", max_length=253))
    state: str = field(metadata=schema("Pending, Loading, Loaded or Failed.", max_length=64))
    reason: str = field(default="", metadata=schema("Why it is not Loaded, in one word.", max_length=64))
    message: str = field(default="", metadata=schema("Why it is not Loaded, and what to do.", max_length=1024))
    source: str = field(default="", metadata=schema("Where it comes from.", max_length=1024))
    digest: str = field(
        default="", metadata=schema("What exactly was fetched: a manifest's digest, or a hub's commit.", max_length=128)
    )
    rank: int = field(default=0, metadata=schema("The adapter's LoRA rank.", format="int32", minimum=0))


@frozen(kw_only=True)
class WeightsStatus:
    """How far the model's files are, where pods fetch them: of the pod that is farthest behind."""

    state: str = field(metadata=schema("Fetching, Ready or Failed.", max_length=64))
    source: str = field(default="", metadata=schema("Where they come from.", max_length=1024))
    revision: str = field(
        default="", metadata=schema("What exactly is fetched: a hub's commit, or a manifest's digest.", max_length=128)
    )
    bytes_done: int | None = field(default=None, metadata=schema("How much is there.", format="int64", minimum=0))
    bytes_total: int | None = field(default=None, metadata=schema("How much it is.", format="int64", minimum=0))
    bytes_per_second: int | None = field(
        default=None, metadata=schema("Over the last seconds.", format="int64", minimum=0)
    )
    pod: str = field(default="", metadata=schema("Which pod says so.", max_length=253))
    message: str = field(default="", metadata=schema("What it waits for, or what to do.", max_length=1024))


@frozen(kw_only=True)
class WorkspaceStatus:
    """Where the Workspace stands."""

    worker_nodes: tuple[str, ...] = field(
        default=(),
        metadata=schema(
            "Nodes that the workload runs on, sorted.", max_items=1024, item={"max_length": 253}, list_type="atomic"
        ),
    )
    conditions: tuple[Condition, ...] = field(
        default=(), metadata=schema("What is done and what is waited for.", max_items=32, list_keys=("type",))
    )
    state: str = field(
        default="",
        metadata=schema(
            "Pending, Ready or NotReady for inference; Pending, Running, Succeeded or Failed for tuning.", max_length=64
        ),
    )
    target_node_count: int = field(
        default=0,
        metadata=schema("Number of nodes that the plan needs.", format="int32", minimum=0),
    )
    plan: PlanStatus | None = field(
        default=None, metadata=schema("What hardware the model needs, and why, as `kubectl kaito plan` explains it.")
    )
    tuning: TuningStatus | None = field(
        default=None, metadata=schema("How far the training is, or how far it came; tuning only.")
    )
    adapters: tuple[AdapterStatus, ...] = field(
        default=(), metadata=schema("Where each adapter stands.", max_items=64, list_type="atomic")
    )
    weights: WeightsStatus | None = field(
        default=None, metadata=schema("How far the model's files are, where pods fetch them.")
    )
    performance: PerformanceStatus = field(
        factory=PerformanceStatus, metadata=schema("What the model server can do, as measured.")
    )


@rules(*cel.WORKSPACE)
@frozen(kw_only=True)
class Workspace:
    """A model to serve or to fine-tune, with the nodes it needs.

    Give exactly one of `inference` and `tuning`. With `resource.instanceType` nodes are made for it, without it
    existing nodes are used. When STATE is Ready, a Service of the same name answers OpenAI-style requests on port 80.
    """

    api_version: str = field(default=WORKSPACES.api_version, metadata=schema("", always=True))
    kind: str = field(default=WORKSPACES.kind, metadata=schema("", always=True))
    metadata: ObjectMeta = field(factory=ObjectMeta)
    resource: ResourceSpec = field(
        factory=ResourceSpec,
        metadata=schema(
            "The nodes that the workload runs on. Required, with a `labelSelector`. With `instanceType` nodes are made,"
            " without it existing nodes are used.",
            always=True,
        ),
    )
    inference: InferenceSpec | None = field(
        default=None,
        metadata=schema(
            "A model to serve with an OpenAI-compatible API: exactly one of `preset`, a model of the catalogue, and"
            " `template`, a pod of your own. `config` and `adapters` go with a preset."
        ),
    )
    tuning: TuningSpec | None = field(
        default=None,
        metadata=schema(
            "A model to fine-tune: `preset` is trained by `method` on `input`, and the adapter goes to `output`. A Job"
            " of the Workspace's name does it, on one node."
        ),
    )
    status: WorkspaceStatus = field(factory=WorkspaceStatus, metadata=schema("Where the Workspace stands."))

    @property
    def purpose(self) -> str:
        """The field that says what it is for: `inference` or `tuning`."""
        return "inference" if self.tuning is None else "tuning"

    @property
    def preset(self) -> PresetSpec | None:
        """The model that is served or tuned; None where the Workspace names none."""
        work = self.inference if self.tuning is None else self.tuning
        return work.preset if work is not None else None

    @property
    def access_secret(self) -> str:
        """The Secret that opens the model's hub; empty where none is named."""
        return self.preset.preset_options.model_access_secret if self.preset is not None else ""

    @property
    def config(self) -> str:
        """The ConfigMap with the options of the server or of the training; empty where none is named."""
        work = self.inference if self.tuning is None else self.tuning
        return work.config if work is not None else ""
