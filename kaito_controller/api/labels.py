"""Every label, annotation, taint and finalizer key that the operator writes or reads; KAITO's and Karpenter's names."""

from __future__ import annotations

# Ownership, on pods, workloads, NodeClaims and nodes.
WORKSPACE_NAME = "kaito.sh/workspace"
WORKSPACE_NAMESPACE = "kaito.sh/workspacenamespace"
RAGENGINE_NAME = "kaito.sh/ragengine"
RAGENGINE_NAMESPACE = "kaito.sh/ragenginenamespace"
WORKSPACE_UID = "kaito.sh/workspace-uid"
MACHINE_TYPE = "kaito.sh/machine-type"
CREATION_TIMESTAMP = "kaito.sh/creation-timestamp"
CREATED_BY_INFERENCESET = "inferenceset.kaito.sh/created-by"
CREATED_BY_MULTIROLEINFERENCE = "multiroleinference.kaito.sh/created-by"
INFERENCE_ROLE = "kaito.sh/inference-role"
KARPENTER_WORKSPACE_NAME = "karpenter.kaito.sh/workspace-name"
KARPENTER_WORKSPACE_NAMESPACE = "karpenter.kaito.sh/workspace-namespace"
KARPENTER_INFERENCESET = "karpenter.kaito.sh/inferenceset"
KARPENTER_INFERENCESET_NAMESPACE = "karpenter.kaito.sh/inferenceset-namespace"

RESERVED_SELECTOR_KEYS = frozenset(
    {
        WORKSPACE_NAME,
        WORKSPACE_NAMESPACE,
        RAGENGINE_NAME,
        RAGENGINE_NAMESPACE,
        KARPENTER_WORKSPACE_NAME,
        KARPENTER_WORKSPACE_NAMESPACE,
        KARPENTER_INFERENCESET,
        KARPENTER_INFERENCESET_NAMESPACE,
    }
)
"""Keys that the operator sets itself; in a Workspace's labelSelector they are not taken from the user."""

# Revisions.
WORKSPACE_HASH = "workspace.kaito.io/hash"
WORKSPACE_REVISION = "workspace.kaito.io/revision"
REVISION_OWNER = "workspace.kaito.io/name"
UPGRADE_TO_VERSION = "kaito.sh/upgrade-to-version"
UPGRADE_START_TIME = "kaito.sh/upgrade-start-time"

# What a user may ask of one Workspace.
RUNTIME = "kaito.sh/runtime"
ENABLE_LOAD_BALANCER = "kaito.sh/enablelb"
BYPASS_RESOURCE_CHECKS = "kaito.sh/bypass-resource-checks"
NODE_IMAGE_FAMILY = "kaito.sh/node-image-family"
NODE_CLASS_NAME = "kaito.sh/node-class-name"
DISABLE_BENCHMARK = "kaito.sh/disable-benchmark"
PERFORMANCE_MODE = "kaito.sh/performance-mode"
USE_LOCAL_WEIGHTS = "kaito.sh/use-local-weights"
WEIGHTS = "kaito.sh/weights"
MODEL_STREAMING = "kaito.sh/model-streaming"
MODEL_MIRROR_STORAGE_CLASS = "kaito.sh/model-mirror-storage-class"
STREAMING_SERVICE_ACCOUNT = "kaito.sh/streaming-service-account"
STATIC_MODEL_MIRROR = "inference.kaito.sh/static-model-mirror"
STREAM_DATAREFS_URL = "inference.kaito.sh/stream-datarefs-url"
STREAM_IDENTITY_CLIENT_ID = "inference.kaito.sh/stream-identity-client-id"
STREAM_SOURCE_TYPE = "inference.kaito.sh/stream-source-type"

# The operator's own marks.
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "kaito-controller"
EMULATED_GPU = "kaito.sh/emulated-gpu"
RUNTIME_NOTE = "kaito.sh/runtime-note"

TUNING_RUN = "workspace.kaito.io/tuning-run"
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"

# Nodes.
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
HOSTNAME = "kubernetes.io/hostname"
OPERATING_SYSTEM = "kubernetes.io/os"
ARCHITECTURE = "kubernetes.io/arch"
ZONE = "topology.kubernetes.io/zone"
REGION = "topology.kubernetes.io/region"
ACCELERATOR = "accelerator"
ACCELERATOR_NVIDIA = "nvidia"
NVIDIA_GPU = "nvidia.com/gpu"
NVIDIA_GPU_PRODUCT = "nvidia.com/gpu.product"
NVIDIA_GPU_COUNT = "nvidia.com/gpu.count"
NVIDIA_GPU_MEMORY_MIB = "nvidia.com/gpu.memory"
NVIDIA_COMPUTE_MAJOR = "nvidia.com/cuda.compute.major"
NVIDIA_COMPUTE_MINOR = "nvidia.com/cuda.compute.minor"
NVIDIA_MIG_CONFIG = "nvidia.com/mig.config"
NVIDIA_MIG_CONFIG_STATE = "nvidia.com/mig.config.state"
AZURE_SKU_NAME = "karpenter.azure.com/sku-name"
AZURE_SPOT = "kubernetes.azure.com/scalesetpriority"
AWS_GPU_COUNT = "karpenter.k8s.aws/instance-gpu-count"
EXCLUDE_FROM_LOAD_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"

# Karpenter's.
NODEPOOL = "karpenter.sh/nodepool"
NODEPOOL_KAITO = "kaito"
CAPACITY_TYPE = "karpenter.sh/capacity-type"
NODE_REGISTERED = "karpenter.sh/registered"
NODE_INITIALIZED = "karpenter.sh/initialized"
DO_NOT_SYNC_TAINTS = "karpenter.sh/do-not-sync-taints"
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
TERMINATION_TIMESTAMP = "karpenter.sh/nodeclaim-termination-timestamp"

# Taints.
TAINT_SKU = "sku"
TAINT_SKU_GPU = "gpu"
TAINT_UNREGISTERED = "karpenter.sh/unregistered"
TAINT_DISRUPTED = "karpenter.sh/disrupted"
TAINT_NOT_READY = "node.kubernetes.io/not-ready"
TAINT_UNREACHABLE = "node.kubernetes.io/unreachable"
TAINT_UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
TAINT_READINESS_PREFIX = "readiness.k8s.io/"

# Finalizers.
WORKSPACE_FINALIZER = "workspace.finalizer.kaito.sh"
TERMINATION_FINALIZER = "karpenter.sh/termination"

# Pods of a StatefulSet.
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
