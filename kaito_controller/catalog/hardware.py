"""GPUs, the instance types that hold them, and prices, as immutable values. Sizes are bytes."""

from __future__ import annotations

from attrs import Factory, field, frozen


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
class Partition:
    """A slice of a GPU that the driver offers as a device of its own (NVIDIA MIG).

    `profile` is NVIDIA's name, such as "1g.10gb"; `memory_bytes` what the driver reports for one, None where no source
    gives it; `per_gpu` how many a GPU is cut into at most. `resource` is what a pod requests to get
    one: its own name, where nodes offer slices by their profile.
    """

    profile: str
    per_gpu: int
    memory_bytes: int | None = None
    resource: str = field(default=Factory(lambda self: f"nvidia.com/mig-{self.profile}", takes_self=True))


@frozen(kw_only=True)
class GPU:
    """One kind of GPU.

    `products` are the spellings that node labels and drivers use for it. `memory_bytes` is nominal;
    `driver_memory_bytes` the total that the driver reports (NVML, and the label nvidia.com/gpu.memory);
    `engine_memory_bytes` the total that a process sees (cudaMemGetInfo), of which an engine takes its share. `dtypes`
    are the precisions that it computes in by itself. `gpu_memory_utilization` overrides the engine's usual share.
    """

    name: str
    model: str
    vendor: str
    resource: str
    memory_bytes: int
    driver_memory_bytes: int | None = None
    engine_memory_bytes: int | None = None
    compute_capability: ComputeCapability | None = None
    dtypes: tuple[str, ...] = ()
    gpu_memory_utilization: float | None = None
    partitions: tuple[Partition, ...] = ()
    products: tuple[str, ...] = ()
    source: str = ""


@frozen(kw_only=True)
class SKU:
    """One instance type: `gpu_count` GPUs of one kind.

    `own_memory_bytes` is the nominal memory of one of its GPUs where it holds parts of GPUs that the hypervisor cut.
    With a `partition`, each of the `gpu_count` devices is such a slice of a GPU, which shares nothing with another.
    """

    name: str
    cloud: str
    gpu: GPU
    gpu_count: int
    own_memory_bytes: int | None = None
    nvme: bool = False
    partition: Partition | None = None
    source: str = ""

    @property
    def gpu_memory_bytes(self) -> int:
        """Nominal memory of one GPU, or what the driver reports for a slice of one."""
        if self.partition is not None and self.partition.memory_bytes is not None:
            return self.partition.memory_bytes
        return self.own_memory_bytes or self.gpu.memory_bytes

    @property
    def gpu_model(self) -> str:
        """The GPU's name as its maker writes it."""
        return self.gpu.model

    @property
    def resource(self) -> str:
        """What a pod requests to get one GPU."""
        return self.gpu.resource

    @property
    def compute_capability(self) -> ComputeCapability | None:
        """The GPU's generation; None where it is not NVIDIA's."""
        return self.gpu.compute_capability

    @property
    def gpu_memory_utilization(self) -> float | None:
        """The engine's share of a GPU's memory where it is not the usual one."""
        return self.gpu.gpu_memory_utilization


@frozen(kw_only=True)
class Price:
    """What one node of an instance type costs an hour, as `source` said on `date` (ISO 8601)."""

    instance_type: str
    per_hour: float
    currency: str
    source: str
    date: str
    cloud: str = ""
    region: str = ""
    spot: bool = False
