"""How far a tuning run is, as a Workspace's status shows it."""

from __future__ import annotations

from attrs import field, frozen

from kaito_controller.kube.declaration import schema


@frozen(kw_only=True)
class TuningStatus:
    """How far the training is; after its end, how far it came. Written now and then, not at each step."""

    run: str = field(
        default="", metadata=schema("Tells this run from others: it changes with spec and ConfigMap.", max_length=64)
    )
    phase: str = field(
        default="", metadata=schema("Preparing, Training, Saving, Pushing, Succeeded or Failed.", max_length=64)
    )
    step: int | None = field(default=None, metadata=schema("Optimizer steps that are done.", format="int64", minimum=0))
    total_steps: int | None = field(default=None, metadata=schema("Optimizer steps in all.", format="int64", minimum=0))
    epoch: float | None = field(default=None, metadata=schema("Passes over the data that are done."))
    loss: float | None = field(default=None, metadata=schema("Training loss of the steps logged last."))
    estimated_completion_time: str = field(
        default="", metadata=schema("When the last step is done, by the pace so far, RFC 3339.", max_length=64)
    )
    output: str = field(
        default="",
        metadata=schema("The image that the adapter was pushed as, with its digest, or the folder.", max_length=1024),
    )
    last_update_time: str = field(
        default="", metadata=schema("When these figures were written, RFC 3339.", max_length=64)
    )
