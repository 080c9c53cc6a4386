"""Every reason that a condition or an event can carry, with what it means, where it comes from and what to do.

Wire names are KAITO's and Karpenter's where they have one. The page docs/reference/conditions.md is made from this.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """One reason. The three sentences are for the reader of the reference page.

    `correctable` marks those of a spec that cannot be planned: while one of them stands, fields that are otherwise
    immutable may be corrected (the CRD's rules are generated from this).
    """

    meaning: str
    cause: str
    remedy: str
    correctable: bool

    def __new__(cls, value: str, meaning: str, cause: str, remedy: str, correctable: bool = False) -> Self:
        """A member is its wire name; its sentences travel along."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.cause = cause
        member.remedy = remedy
        member.correctable = correctable
        return member

    # Workspace: the spec.
    INVALID_SPEC = (
        "InvalidSpec",
        "The Workspace says something that cannot be carried out.",
        "A rule that the API server cannot check is broken; the message names field, rule and what was found.",
        "Correct the field; the Workspace goes on by itself.",
        True,
    )
    UNKNOWN_PRESET = (
        "UnknownPreset",
        "The catalogue has no preset of that name.",
        "inference.preset.name or tuning.preset.name is misspelt, or the model is not in this release.",
        "Use one of the nearest names in the message; kubectl kaito presets lists all.",
        True,
    )
    MODEL_LOOKUP = (
        "ModelLookup",
        "The model's own files are being read.",
        "The model is not in the catalogue, so its hub or registry is asked what it needs.",
        "Nothing to do; it takes seconds.",
        True,
    )
    MODEL_ACCESS_DENIED = (
        "ModelAccessDenied",
        "The model's hub, its registry or a Secret may not be read.",
        "The model is gated or private, the token is wrong, or no Role lets the operator read the Secret with it.",
        "Do what the message says: accept the licence, correct the token, or create the Role that it prints.",
        True,
    )
    MODEL_UNREACHABLE = (
        "ModelUnreachable",
        "The model's hub or registry does not answer.",
        "It is down, busy, or the operator's network does not lead there.",
        "It is tried again. If it does not pass, let the operator reach it, or use a model of the catalogue.",
        True,
    )
    MODEL_UNUSABLE = (
        "ModelUnusable",
        "There is no such model, or its files cannot be used.",
        "The name is wrong, the files are no model that the engine serves, or a number in them is missing or absurd.",
        "Correct inference.preset.name, or have the model's owner correct the file that the message names.",
        True,
    )
    UNKNOWN_INSTANCE_TYPE = (
        "UnknownInstanceType",
        "The catalogue has no instance type of that name.",
        "resource.instanceType is misspelt, or the type is not in this release's tables.",
        "Use one of the nearest names in the message, or existing nodes by labelSelector without instanceType.",
        True,
    )
    MODEL_DOES_NOT_FIT = (
        "ModelDoesNotFit",
        "The model needs more GPU memory than the nodes have.",
        "Weights, KV cache and overhead exceed the instance type; the message gives the bytes needed and available.",
        "Choose a larger instance type, a higher resource.count, or a smaller model.",
        True,
    )
    COUNT_TOO_SMALL = (
        "CountTooSmall",
        "resource.count is above 1 but below what the model needs.",
        "The number of nodes asked for cannot hold the model; the message gives the least number.",
        "Raise resource.count, or leave it out and let the plan decide.",
        True,
    )
    SELECTOR_INVALID = (
        "SelectorInvalid",
        "resource.labelSelector cannot select the nodes of this Workspace.",
        "It contradicts itself, consists of reserved keys only, or contradicts resource.instanceType.",
        "Name labels that the nodes carry, or are to carry, and that do not contradict one another.",
        True,
    )
    INSTANCE_TYPE_REFUSED = (
        "InstanceTypeRefused",
        "resource.instanceType is set, but this operator never makes nodes.",
        "The operator runs with --node-provisioner byo.",
        "Remove resource.instanceType and select existing nodes by labelSelector, or run a node provisioner.",
        True,
    )
    RUNTIME_UNSUPPORTED = (
        "RuntimeUnsupported",
        "The chosen runtime cannot serve this preset.",
        "The kaito.sh/runtime annotation or the operator's default runtime does not go with the model or the nodes.",
        "Remove the annotation, or choose a runtime that the message names.",
        True,
    )
    CONFIG_MAP_NOT_FOUND = (
        "ConfigMapNotFound",
        "The ConfigMap named in the Workspace is not there.",
        "inference.config or tuning.config names a ConfigMap that does not exist in the Workspace's namespace.",
        "Create the ConfigMap; the Workspace goes on by itself.",
    )
    CONFIG_INVALID = (
        "ConfigInvalid",
        "The ConfigMap named in the Workspace cannot be used.",
        "Its key is missing, is no YAML, or sets an option to a value that the model does not allow.",
        "Correct the ConfigMap; the message names the option.",
    )
    SPEC_HONORED = (
        "SpecHonored",
        "Every field that is set has an effect.",
        "Nothing is set that this release does not act on.",
        "Nothing to do.",
    )
    FIELDS_NOT_IMPLEMENTED = (
        "FieldsNotImplemented",
        "Fields are set that this release accepts but does not act on.",
        "The fields belong to features of KAITO that are still to come here; the message lists them.",
        "Remove the fields, or wait for the release that implements them; the rest of the Workspace works.",
    )

    # Workspace: nodes.
    NODE_CLAIM_NOT_READY = (
        "NodeClaimNotReady",
        "Not enough NodeClaims are Ready yet.",
        "Machines are still being made, joining or starting.",
        "Wait; kubectl describe nodeclaim tells what each waits for.",
    )
    NODE_CLAIMS_READY = (
        "NodeClaimsReady",
        "Enough NodeClaims are Ready.",
        "The node provisioner has done its work.",
        "Nothing to do.",
    )
    NODE_CLAIM_CREATED = (
        "NodeClaimCreated",
        "A NodeClaim was created for the Workspace.",
        "The plan needs one more node.",
        "Nothing to do.",
    )
    NODE_CLAIM_CREATION_FAILED = (
        "NodeClaimCreationFailed",
        "A NodeClaim could not be created.",
        "The API server refused it; the message is its own. The operator tries again.",
        "Install the NodeClaim CRD, or correct what the message names.",
    )
    NODE_CLAIM_DELETED = (
        "NodeClaimDeleted",
        "A NodeClaim of the Workspace was deleted.",
        "The Workspace is being deleted, or the plan needs fewer nodes.",
        "Nothing to do.",
    )
    NODE_NOT_READY = (
        "NodeNotReady",
        "Fewer nodes are Ready than needed (Workspace), or the Node of the claim is not Ready (NodeClaim).",
        "No Node matches, the kubelet has not reported yet, or it reports a problem.",
        "Wait; if it stays, kubectl describe node tells the problem. Without instanceType, label enough nodes.",
    )
    NODES_READY = ("NodesReady", "Enough nodes are Ready.", "Every node of the plan reported.", "Nothing to do.")
    NODE_PLUGINS_NOT_READY = (
        "NodePluginsNotReady",
        "Nodes are Ready but do not show their GPUs.",
        "The GPU driver or device plugin has not registered nvidia.com/gpu with the kubelet.",
        "Wait for the device plugin; if it stays, look at its pod on the node named in the message.",
    )
    RESOURCE_STATUS_NOT_READY = (
        "workspaceResourceStatusNotReady",
        "What the workload runs on is not complete.",
        "The nodes selected by labelSelector are fewer than needed or not Ready.",
        "Label more nodes, or wait for those that match.",
    )
    RESOURCE_STATUS_SUCCESS = (
        "workspaceResourceStatusSuccess",
        "What the workload runs on is there.",
        "Enough nodes are Ready.",
        "Nothing to do.",
    )

    # Workspace: the workload.
    INFERENCE_PENDING = (
        "WorkspaceInferenceStatusPending",
        "The model server does not answer yet.",
        "Pods are being scheduled, images pulled, weights loaded.",
        "Wait; kubectl get pods -l kaito.sh/workspace=<name> shows the progress.",
    )
    INFERENCE_SUCCESS = (
        "WorkspaceInferenceStatusSuccess",
        "The model server answers.",
        "Every replica is ready.",
        "Nothing to do.",
    )
    ADAPTERS_LOADED = (
        "AdaptersLoaded",
        "The engine serves every adapter.",
        "Each was fetched, checked and loaded.",
        "Nothing to do.",
    )
    WEIGHTS_FETCHING = (
        "WeightsFetching",
        "The model's files are on their way to the pods.",
        "They are downloaded from a hub or pulled from a registry, while the engine starts beside.",
        "Wait; the message and status.weights say how far they are, and what they wait for.",
    )
    WEIGHTS_FAILED = (
        "WeightsFailed",
        "The model's files cannot be had.",
        "There are none of that name, they may not be read, the disk is full, or they are no safetensors.",
        "Do what the message says; it is tried again every minute.",
    )
    ADAPTERS_PENDING = (
        "AdaptersPending",
        "Adapters are on their way into the engine.",
        "They are being fetched, or the engine is starting.",
        "Wait; status.adapters says of each how far it is.",
    )
    ADAPTERS_FAILED = (
        "AdaptersFailed",
        "Some adapters cannot be loaded; the model and the other adapters are served.",
        "status.adapters gives each its reason.",
        "Do what the message says; a failed adapter is tried again by itself.",
    )
    ADAPTER_LOADED = (
        "AdapterLoaded",
        "The engine serves an adapter.",
        "It was fetched, checked and loaded, or replaced by other content.",
        "Nothing to do.",
    )
    ADAPTER_FAILED = (
        "AdapterFailed",
        "An adapter cannot be loaded.",
        "Its source, its files or the engine; the message says which.",
        "Do what the message says; it is tried again by itself.",
    )
    CONTAINER_OOM_KILLED = (
        "ContainerOOMKilled",
        "A container was killed for using more memory than it may.",
        "The model or its KV cache needs more host memory than limit or node allow.",
        "Use a larger instance type, or lower max-model-len in the ConfigMap of inference.config.",
    )
    IMAGE_PULL_ERROR = (
        "ImagePullError",
        "A container image cannot be pulled.",
        "Name, tag, registry or credentials are wrong, or the registry does not answer.",
        "Correct the image or its pull secret; the kubelet tries again by itself.",
    )
    CONTAINER_START_ERROR = (
        "ContainerStartError",
        "A container cannot be started.",
        "A ConfigMap, Secret, volume or command that the pod needs is wrong or missing.",
        "kubectl describe pod names it; create or correct it.",
    )
    CONTAINER_CRASH_LOOP = (
        "ContainerCrashLoopBackOff",
        "A container starts and ends again and again.",
        "The model server fails; its log tells why.",
        "Read kubectl logs <pod> --previous, then correct the configuration.",
    )
    NODE_DISK_PRESSURE = (
        "NodeDiskPressure",
        "A pod was evicted because its node ran out of disk.",
        "Weights, images and logs exceed the node's disk.",
        "Use an instance type with a larger disk, or free space on the node.",
    )
    NODE_MEMORY_PRESSURE = (
        "NodeMemoryPressure",
        "A pod was evicted because its node ran out of memory.",
        "Other pods on the node, or the model server, use too much host memory.",
        "Use a larger instance type, or keep other pods off the node.",
    )
    POD_EVICTED = (
        "PodEvicted",
        "A pod was evicted from its node.",
        "The node was drained or ran short of something.",
        "Wait for the replacement; if it repeats, kubectl describe pod names the cause.",
    )
    UNSCHEDULABLE = (
        "Unschedulable",
        "The scheduler finds no node for a pod.",
        "No node that matches has the free GPUs, or a taint keeps the pod away; the message is the scheduler's.",
        "Free GPUs on the nodes, add nodes, or tolerate the taint.",
    )
    WORKLOAD_CONFLICT = (
        "WorkloadConflict",
        "An object with the name of a child exists and is not ours.",
        "A Service, StatefulSet or Job named like the Workspace was made by somebody else.",
        "Delete or rename that object, or give the Workspace another name.",
    )
    WORKLOAD_REFUSED = (
        "WorkloadRefused",
        "The API server refuses a child object.",
        "Quota, admission policy or permissions; the message is the API server's.",
        "Correct what the message names; the operator tries again.",
    )
    WORKLOAD_CREATED = (
        "WorkloadCreated",
        "The workload of the Workspace was created.",
        "Its nodes are there.",
        "Nothing to do.",
    )
    WORKLOAD_UPDATED = (
        "WorkloadUpdated",
        "The workload of the Workspace was changed.",
        "The spec, the catalogue or the operator's release changed the desired state.",
        "Nothing to do.",
    )
    WORKLOAD_MIGRATION = (
        "WorkloadMigration",
        "An old Deployment of the Workspace was replaced by a StatefulSet.",
        "The Workspace was made by an early release of KAITO.",
        "Nothing to do.",
    )
    SERVICE_CREATED = (
        "ServiceCreated",
        "A Service of the Workspace was created.",
        "The model is reached through it.",
        "Nothing to do.",
    )
    TUNING_PENDING = (
        "WorkspaceTuningJobStatusPending",
        "The tuning Job has not started.",
        "Its pod waits for a node or its data.",
        "Wait; kubectl describe job tells what it waits for.",
    )
    TUNING_STARTED = (
        "WorkspaceTuningJobStatusStarted",
        "The tuning Job has started.",
        "Its pod runs or has run.",
        "Nothing to do.",
    )
    TUNING_FAILED = (
        "WorkspaceTuningJobStatusFailed",
        "The tuning Job failed.",
        "Its log tells why.",
        "Correct data or configuration: a changed tuning or ConfigMap makes a new Job, and so does deleting this one.",
    )

    # Workspace: as a whole.
    WORKSPACE_PENDING = (
        "workspacePending",
        "The Workspace is on its way.",
        "Nodes or workload are not ready yet; the other conditions say which.",
        "Wait.",
    )
    WORKSPACE_SUCCEEDED = (
        "workspaceSucceeded",
        "The Workspace does what it was made for.",
        "The model serves, or the tuning Job has finished.",
        "Nothing to do.",
    )
    WORKSPACE_FAILED = (
        "workspaceFailed",
        "The Workspace will not get there by waiting.",
        "The spec cannot be planned, or the tuning Job failed; the message says which.",
        "Correct what the message names.",
    )
    WORKSPACE_DELETED = (
        "workspaceDeleted",
        "The Workspace is being deleted.",
        "Somebody deleted it; workload and nodes go first.",
        "Wait; kubectl get nodeclaim shows the machines that are still going.",
    )
    WORKSPACE_READY = ("WorkspaceReady", "The Workspace has become ready.", "Its workload is ready.", "Nothing to do.")
    WORKSPACE_NOT_READY = (
        "WorkspaceNotReady",
        "The Workspace was ready and is not any more.",
        "A node or a pod was lost, or a change is rolling out.",
        "Wait; if it stays, the conditions say what is missing.",
    )
    RECONCILE_FAILED = (
        "ReconcileFailed",
        "The operator could not finish a step and will try again.",
        "The API server or a provider answered with an error; the message is that error.",
        "Nothing, if it passes; else correct what the message names.",
    )
    BENCHMARK_COMPLETED = (
        "BenchmarkCompleted",
        "The peak throughput was measured and recorded.",
        "The benchmark at start-up succeeded.",
        "Nothing to do.",
    )
    BENCHMARK_FAILED = (
        "BenchmarkFailed",
        "The peak throughput could not be measured.",
        "The benchmark at start-up failed; the message says why.",
        "Annotate the Workspace with kaito.sh/disable-benchmark=true to go without.",
    )

    # NodeClaim: the way up.
    AWAITING_RECONCILIATION = (
        "AwaitingReconciliation",
        "Nobody has looked at this yet.",
        "The node provisioner has not come to this step.",
        "Wait; if it stays, look whether a node provisioner runs.",
    )
    LAUNCHED = ("Launched", "The provider made the machine.", "The launch succeeded.", "Nothing to do.")
    LAUNCH_FAILED = (
        "LaunchFailed",
        "The provider could not make the machine.",
        "The message is the provider's; the launch is tried again.",
        "Correct what the message names, such as quota or permissions.",
    )
    LAUNCH_TIMEOUT = (
        "LaunchTimeout",
        "The machine was not made in time, so the NodeClaim is deleted.",
        "Every try to launch failed; the event before this one tells why.",
        "Correct the cause; whoever owns the NodeClaim makes another.",
    )
    INSUFFICIENT_CAPACITY = (
        "InsufficientCapacityError",
        "The provider has no such machine to give.",
        "The instance type is sold out, the quota is used up, or the local limit of nodes is reached.",
        "Free capacity, raise quota or limit, or choose another instance type; the operator tries again.",
    )
    INSTANCE_TYPE_NOT_FOUND = (
        "InstanceTypeNotFound",
        "The provider does not know the instance type.",
        "The requirement node.kubernetes.io/instance-type names none that it offers.",
        "Choose an instance type of this provider.",
    )
    MACHINE_UNSUITED = (
        "MachineUnsuited",
        "This computer cannot carry nodes, so the provider local makes none.",
        "A program that nodes are made of is missing, or the operator does not run as root.",
        "Install what the message names; the launch is tried again.",
    )
    MACHINE_NOT_STARTED = (
        "MachineNotStarted",
        "A machine of the provider local did not start.",
        "The message is the last word of what failed.",
        "Look at hack/cluster status and hack/cluster logs; the launch is tried again.",
    )
    NODE_NAME_TAKEN = (
        "NodeNameTaken",
        "A Node of the machine's name is there that is not this machine.",
        "The provider kwok names Nodes after their NodeClaims, and somebody else made one of that name.",
        "Delete that Node if it stays; the launch is tried again.",
    )
    NODE_CLASS_NOT_READY = (
        "NodeClassNotReady",
        "The node class that the NodeClaim refers to cannot be used.",
        "It is missing or not Ready.",
        "Create or repair the node class.",
    )
    NODE_NOT_FOUND = (
        "NodeNotFound",
        "The machine exists but has not joined the cluster.",
        "It is still booting, or its kubelet cannot reach the API server.",
        "Wait; if it stays, look at the machine's console.",
    )
    MULTIPLE_NODES_FOUND = (
        "MultipleNodesFound",
        "More than one Node claims to be this machine.",
        "Two Nodes carry the same spec.providerID.",
        "Delete the NodeClaim; a new one gets a new machine.",
    )
    REGISTRATION_HOOK_PENDING = (
        "RegistrationHookPending",
        "The Node joined, but something else must happen before it counts.",
        "A registration hook of the provider has not finished.",
        "Wait.",
    )
    REGISTERED = ("Registered", "The machine joined as a Node.", "Its kubelet registered.", "Nothing to do.")
    REGISTRATION_TIMEOUT = (
        "RegistrationTimeout",
        "The machine did not join in time, so the NodeClaim is deleted.",
        "Its kubelet never registered.",
        "Look at the machine's boot log; whoever owns the NodeClaim makes another.",
    )
    UNREGISTERED_TAINT_MISSING = (
        "UnregisteredTaintMissing",
        "The Node joined without the taint that keeps pods away until it is registered.",
        "The machine's kubelet was not told to register with it.",
        "Add the taint to the machine's configuration; this node works all the same.",
    )
    STARTUP_TAINTS_EXIST = (
        "StartupTaintsExist",
        "A start-up taint of the NodeClaim is still on the Node.",
        "Whatever is to remove it has not finished.",
        "Wait; if it stays, look at the agent that removes the taint.",
    )
    EPHEMERAL_TAINTS_EXIST = (
        "KnownEphemeralTaintsExist",
        "A taint that goes by itself is still on the Node.",
        "The Node is not ready, unreachable, or not yet initialised by its cloud.",
        "Wait.",
    )
    RESOURCE_NOT_REGISTERED = (
        "ResourceNotRegistered",
        "The Node does not show a resource that the NodeClaim asks for.",
        "Mostly nvidia.com/gpu: driver or device plugin is not ready.",
        "Wait; if it stays, look at the device plugin's pod on the node.",
    )
    INITIALIZED = ("Initialized", "The Node is ready for work.", "It shows everything asked for.", "Nothing to do.")
    READY = ("Ready", "The NodeClaim is complete.", "Launched, Registered and Initialized.", "Nothing to do.")
    UNHEALTHY_DEPENDENTS = (
        "UnhealthyDependents",
        "The NodeClaim cannot become Ready.",
        "One of Launched, Registered and Initialized is False; the message says which.",
        "Read that condition.",
    )
    RECONCILING_DEPENDENTS = (
        "ReconcilingDependents",
        "The NodeClaim is on its way.",
        "One of Launched, Registered and Initialized is still Unknown; the message says which.",
        "Wait.",
    )

    # NodeClaim: the way down.
    DRAINING = (
        "Draining",
        "Pods are being moved off the Node.",
        "The NodeClaim or the Node is being deleted.",
        "Wait; a PodDisruptionBudget or a long grace period makes it slow.",
    )
    FAILED_DRAINING = (
        "FailedDraining",
        "A pod cannot be evicted at the moment.",
        "A PodDisruptionBudget forbids it; it is tried again.",
        "Start more replicas elsewhere, or relax the budget.",
    )
    DRAINED = ("Drained", "No evictable pod is left.", "The drain is complete.", "Nothing to do.")
    AWAITING_VOLUME_DETACHMENT = (
        "AwaitingVolumeDetachment",
        "Volumes are still attached to the Node.",
        "The storage driver has not detached them.",
        "Wait; if it stays, look at the storage driver.",
    )
    VOLUMES_DETACHED = ("VolumesDetached", "No volume is attached.", "Detaching is complete.", "Nothing to do.")
    TERMINATION_GRACE_PERIOD_ELAPSED = (
        "TerminationGracePeriodElapsed",
        "The time allowed for an orderly end is over, so the machine goes anyway.",
        "spec.terminationGracePeriod has passed.",
        "Nothing to do.",
    )
    INSTANCE_TERMINATING = (
        "InstanceTerminating",
        "The provider is ending the machine.",
        "It was told to.",
        "Nothing to do.",
    )
    MACHINE_STAYS = (
        "MachineStays",
        "A machine of the provider local could not be removed yet.",
        "Something of it is still in use; the message says what.",
        "Wait, it is tried again; hack/cluster down removes everything.",
    )
    GARBAGE_COLLECTED = (
        "GarbageCollected",
        "One half of NodeClaim and machine was gone, so the other was removed.",
        "The machine vanished at the provider, or its NodeClaim vanished from the cluster.",
        "Nothing to do.",
    )
    EXPIRED = (
        "Expired",
        "The NodeClaim was deleted because it grew older than spec.expireAfter.",
        "expireAfter is not Never.",
        "Set expireAfter to Never on NodeClaims that must not end by age.",
    )
