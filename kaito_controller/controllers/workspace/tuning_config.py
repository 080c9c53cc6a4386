"""The ConfigMap of ``tuning.config``: KAITO's sections, and what of them decides the memory of a run. Pure.

The training reads the whole file itself; what is checked here is what would make a GPU node wait for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from attrs import field, frozen

from inference_server import contract
from kaito_controller.api.workspace import Workspace
from kaito_controller.controllers.workspace.config_map import Document, invalid, read_document, shown
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.training_options import (
    DEFAULT_LENGTH,
    DEFAULT_RANK,
    EIGHT_BITS,
    FOUR_BITS,
    LIBRARY_BATCH,
    TrainingOptions,
)

ROOT: Final = "training_config"
SECTIONS: Final = (
    "ModelConfig", "QuantizationConfig", "LoraConfig", "TrainingArguments", "DatasetConfig", "DataCollator",
)  # fmt: skip
QLORA: Final = "qlora"

_WORDS: Final = {"true": True, "false": False}
_MOUNTS: Final = PurePosixPath("/mnt")
_BITS: Final = {"load_in_4bit": FOUR_BITS, "load_in_8bit": EIGHT_BITS}
_LARGEST: Final = 2**24
"""No rank, batch or length of tokens is larger; it keeps a misprint from becoming a plan."""


@frozen(kw_only=True)
class TuningConfig:
    """What a user's configuration decides beforehand; a change of its digest makes a new run."""

    options: TrainingOptions = field(factory=TrainingOptions)
    digest: str = ""


def read_tuning_config(workspace: Workspace, config_map: Object | None) -> TuningConfig | Blocked:
    """Return what ``tuning.config`` says, or why it cannot be used."""
    method = workspace.tuning.method.lower() if workspace.tuning is not None else ""
    document = read_document(workspace, config_map, contract.TUNING_CONFIG_FILE_NAME)
    if isinstance(document, Blocked):
        return document
    try:
        options = _options(_sections(document), method) if document is not None else _default(method)
    except _Wrong as error:
        return invalid(f"{document.where if document is not None else 'tuning.config'}: {error}")
    return TuningConfig(options=options, digest=document.digest if document is not None else "")


class _Wrong(Exception):  # noqa: N818 - a finding, not a failure
    """One sentence about one option."""


def _sections(document: Document) -> dict[str, Mapping[str, Any]]:
    content = document.content
    root = content.get(ROOT) if isinstance(content, Mapping) else None
    if not isinstance(root, Mapping):
        raise _Wrong(f"must be a map {ROOT} of sections, found {shown(content)}.")
    found: dict[str, Mapping[str, Any]] = {}
    for name, section in root.items():
        if name not in SECTIONS:
            raise _Wrong(f"{ROOT}: Unrecognized section: {shown(name)}; the sections are {', '.join(SECTIONS)}.")
        if section is not None and not isinstance(section, Mapping):
            raise _Wrong(f"{ROOT}.{name} must be a map of options, found {shown(section)}.")
        found[str(name)] = section or {}
    return found


def _default(method: str) -> TrainingOptions:
    """What the training takes where there is no ConfigMap (inference_server/tune/templates)."""
    return TrainingOptions(weight_bits=FOUR_BITS if method == QLORA else None)


def _options(sections: Mapping[str, Mapping[str, Any]], method: str) -> TrainingOptions:
    training, packing = sections.get("TrainingArguments", {}), sections.get("QuantizationConfig", {})
    _check_output(training)
    return TrainingOptions(
        weight_bits=_weight_bits(packing, method),
        double_quantisation=_flag(packing, "QuantizationConfig.bnb_4bit_use_double_quant", default=False),
        rank=_number(sections.get("LoraConfig", {}), "LoraConfig.r", DEFAULT_RANK),
        batch=_number(training, "TrainingArguments.per_device_train_batch_size", LIBRARY_BATCH),
        length=_length(training),
        checkpointing=_flag(training, "TrainingArguments.gradient_checkpointing", default=True),
    )


def _weight_bits(section: Mapping[str, Any], method: str) -> int | None:
    """The rules of the method: lora packs nothing, qlora packs in one of two ways."""
    asked = []
    for name, bits in _BITS.items():
        if _flag(section, f"QuantizationConfig.{name}", default=False):
            asked.append(bits)
    names = " and ".join(_BITS)
    if method != QLORA:
        if asked:
            raise _Wrong(f"QuantizationConfig: {names} must be false for method lora, found true. Or use method qlora.")
        return None
    if len(asked) != 1:
        found = "both true" if asked else "neither true"
        raise _Wrong(f"QuantizationConfig: exactly one of {names} must be true for method qlora, found {found}.")
    return asked[0]


def _check_output(training: Mapping[str, Any]) -> None:
    if "output_dir" not in training:
        return
    found = training["output_dir"]
    path = PurePosixPath(found) if isinstance(found, str) else None
    if path is None or path == _MOUNTS or not path.is_relative_to(_MOUNTS) or ".." in path.parts:
        rule = f"must be a folder strictly below {_MOUNTS}"
        raise _Wrong(f"TrainingArguments.output_dir {rule}, found {shown(found)}. Leave it out, or give one there.")


def _length(training: Mapping[str, Any]) -> int:
    """Under the name that trl gives it, or the one that it had."""
    name = "max_length" if "max_length" in training else "max_seq_length"
    return _number(training, f"TrainingArguments.{name}", DEFAULT_LENGTH)


def _number(section: Mapping[str, Any], where: str, default: int) -> int:
    value = _value(section, where, default)
    if isinstance(value, str) and value.isdecimal() and len(value) <= len(str(_LARGEST)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST:
        raise _Wrong(f"{where} must be a whole number from 1 to {_LARGEST}, found {shown(value)}.")
    return value


def _flag(section: Mapping[str, Any], where: str, *, default: bool) -> bool:
    """True or false, also in quotes, as the training reads it."""
    value = _value(section, where, default)
    found = _WORDS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise _Wrong(f"{where} must be true or false, found {shown(value)}.")
    return found


def _value(section: Mapping[str, Any], where: str, default: Any) -> Any:
    """The option that a path ends with; null stands for the default."""
    found = section.get(where.rpartition(".")[2])
    return default if found is None else found
