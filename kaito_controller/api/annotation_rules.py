"""The annotations and labels by which a user asks something of one Workspace, and the values they may have.

CRD rules cannot see metadata beyond the name, so these become a ValidatingAdmissionPolicy. A value is checked when it
is written or changed, never when something else of the object changes.
"""

from __future__ import annotations

from attrs import frozen

from kaito_controller.api import labels, weights_uri


@frozen(kw_only=True)
class MetadataRule:
    """What one annotation (or label) asks, and which values mean something; none listed means any.

    `fold_case` compares trimmed and without case. `advice` warns instead of refusing. `pattern` is a regular expression
    for values that cannot be listed, `forms` how a user reads it; such a value holds no `..`.
    """

    key: str
    meaning: str
    values: tuple[str, ...] = ()
    pattern: str = ""
    forms: str = ""
    is_label: bool = False
    fold_case: bool = False
    advice: bool = False

    @property
    def place(self) -> str:
        """The field of the object it stands in, such as `metadata.annotations`."""
        return "metadata.labels" if self.is_label else "metadata.annotations"


_SWITCH = ("true", "false")

RULES = (
    MetadataRule(
        key=labels.RUNTIME,
        values=("vllm", "transformers"),
        meaning="The model server to use; the operator's own when left out, which is vllm unless it says otherwise.",
    ),
    MetadataRule(
        key=labels.ENABLE_LOAD_BALANCER,
        values=("True", "False"),
        advice=True,
        meaning="Exactly `True` makes the Service one of type LoadBalancer.",
    ),
    MetadataRule(
        key=labels.BYPASS_RESOURCE_CHECKS,
        meaning="Present, whatever its value: a model that does not fit is tried all the same.",
    ),
    MetadataRule(
        key=labels.NODE_IMAGE_FAMILY,
        values=("ubuntu", "azurelinux"),
        fold_case=True,
        meaning="Operating system of the nodes that are made, where the cloud offers a choice.",
    ),
    MetadataRule(
        key=labels.NODE_CLASS_NAME,
        meaning="Name of the Karpenter node class for the nodes that are made.",
    ),
    MetadataRule(
        key=labels.DISABLE_BENCHMARK,
        values=_SWITCH,
        meaning="`true` leaves out the benchmark at start-up.",
    ),
    MetadataRule(
        key=labels.PERFORMANCE_MODE,
        values=("balanced", "interactivity", "throughput"),
        meaning="What the model server is tuned for; balanced when left out.",
    ),
    MetadataRule(
        key=labels.USE_LOCAL_WEIGHTS,
        values=_SWITCH,
        meaning="`true` reads the weights from the node's disk instead of downloading them.",
    ),
    MetadataRule(
        key=labels.WEIGHTS,
        pattern=weights_uri.PATTERN,
        forms=weights_uri.FORMS,
        meaning=f"Where the model's files come from instead of its hub: {weights_uri.FORMS}.",
    ),
    MetadataRule(
        key=labels.MODEL_STREAMING,
        values=("enabled", "disabled"),
        advice=True,
        meaning="`disabled` opts out of streaming weights from a mirror.",
    ),
    MetadataRule(
        key=labels.INFERENCE_ROLE,
        values=("prefill", "decode"),
        is_label=True,
        meaning="The half of a disaggregated model server that this Workspace is.",
    ),
)
