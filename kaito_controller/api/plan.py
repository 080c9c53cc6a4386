"""The plan of a Workspace as users read it: the same names in `status.plan` and in what `kubectl kaito plan` prints."""

from __future__ import annotations

from attrs import field, frozen

from kaito_controller.kube.declaration import schema


@frozen(kw_only=True)
class LedgerEntryStatus:
    """One thing that takes memory of a GPU."""

    entry: str = field(metadata=schema("What it is.", max_length=64))
    bytes: int = field(metadata=schema("How much of one GPU's memory.", format="int64", minimum=0))
    formula: str = field(default="", metadata=schema("How it was computed.", max_length=1024))
    source: str = field(default="", metadata=schema("What the formula or its numbers are from.", max_length=1024))


@frozen(kw_only=True)
class PriceStatus:
    """What one node of the plan costs an hour."""

    per_hour: float = field(metadata=schema("The amount."))
    currency: str = field(metadata=schema("ISO 4217 code.", max_length=8))
    source: str = field(default="", metadata=schema("Who said so.", max_length=512))
    date: str = field(default="", metadata=schema("When, as a date.", max_length=32))


@frozen(kw_only=True)
class PlanStatus:
    """What hardware the model needs, and why."""

    model: str = field(default="", metadata=schema("The model's id.", max_length=512))
    revision: str = field(default="", metadata=schema("The revision whose numbers were used.", max_length=128))
    instance_type: str = field(default="", metadata=schema("Of the nodes.", max_length=253))
    nodes: int = field(default=0, metadata=schema("How many.", format="int32", minimum=0))
    tensor_parallel: int = field(default=0, metadata=schema("GPUs that share each layer.", format="int32", minimum=0))
    pipeline_parallel: int = field(
        default=0, metadata=schema("Stages of layers, one a node.", format="int32", minimum=0)
    )
    data_parallel: int = field(
        default=0, metadata=schema("Whole copies of the model in one engine.", format="int32", minimum=0)
    )
    dtype: str = field(default="", metadata=schema("The precision that is computed in.", max_length=32))
    max_model_len: int = field(default=0, metadata=schema("The longest request, in tokens.", format="int64", minimum=0))
    kv_tokens: int = field(
        default=0, metadata=schema("Tokens that the KV cache of one engine holds.", format="int64", minimum=0)
    )
    args: tuple[str, ...] = field(
        default=(),
        metadata=schema("The engine's arguments.", max_items=256, item={"max_length": 4096}, list_type="atomic"),
    )
    ledger: tuple[LedgerEntryStatus, ...] = field(
        default=(), metadata=schema("The memory of one GPU, entry by entry.", max_items=32, list_type="atomic")
    )
    price: PriceStatus | None = field(default=None, metadata=schema("Where one is known."))
