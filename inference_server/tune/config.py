"""Reads `training_config.yaml`. Pure: the keys that the libraries have are handed in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Final

from attrs import field, frozen

from inference_server import plain_yaml
from inference_server.plain_yaml import refusal
from inference_server.refusal import nearest, shown
from inference_server.tune import config_keys as keys
from inference_server.tune.example import Columns

LORA: Final = "lora"
QLORA: Final = "qlora"
METHODS: Final = (LORA, QLORA)

Known = Mapping[str, Mapping[str, frozenset[str]]]
"""Section → key → the names of the types that its value may have: str, bool, int, float, dict, list, None."""


@frozen(kw_only=True)
class ModelOptions:
    """How the base model is opened; `dtype` as the file says it, which a device without it may not follow."""

    dtype: str = "auto"
    trust_remote_code: bool = False
    chat_template: str | None = None
    attn_implementation: str | None = None


@frozen(kw_only=True)
class DatasetOptions:
    """Which data is learnt from. `train_share` is the part that is trained on; the rest is evaluated on."""

    path: str | None = None
    extension: str | None = None
    columns: Columns = field(factory=Columns)
    shuffle: bool = True
    shuffle_seed: int = 42
    train_share: float = 0.8


@frozen(kw_only=True)
class TuningConfig:
    """The file's content, checked. `quantization`, `lora` and `training` are the libraries' own words.

    Attributes:
        notes: what was read and has no effect, each with its reason.
    """

    method: str
    model: ModelOptions
    quantization: Mapping[str, Any]
    lora: Mapping[str, Any]
    training: Mapping[str, Any]
    dataset: DatasetOptions
    notes: tuple[str, ...] = ()


def template(method: str) -> str:
    """The text of the configuration that stands in for one that a Workspace does not have."""
    return resources.files(__package__).joinpath("templates", f"{method}.yaml").read_text(encoding="utf-8")


def read(path: Path | None, method: str, known: Known) -> TuningConfig:
    """The configuration in a file, or the method's own without one. Raises InputError."""
    return parse(template(method) if path is None else plain_yaml.read(path), method, known)


def parse(text: str, method: str, known: Known) -> TuningConfig:
    """The content of a file's text. Raises InputError for what is unknown, unsafe or of the wrong type."""
    notes: list[str] = []
    raw = _sections(text)
    found = {name: _section(name, raw.get(name, {}), known, notes) for name in keys.SECTIONS}
    quantization = _quantization(found["QuantizationConfig"], method)
    training = dict(found["TrainingArguments"])
    _check_output_dir(raw.get("TrainingArguments", {}).get("output_dir"))
    if "pad_to_multiple_of" in found["DataCollator"]:
        training["pad_to_multiple_of"] = found["DataCollator"]["pad_to_multiple_of"]
    _check_training(training)
    return TuningConfig(
        method=method,
        model=_model(found["ModelConfig"]),
        quantization=quantization,
        lora=_lora(found["LoraConfig"]),
        training=training,
        dataset=_dataset(found["DatasetConfig"]),
        notes=tuple(notes),
    )


def _sections(text: str) -> Mapping[str, Mapping[str, Any]]:
    document = plain_yaml.load(text)
    if not isinstance(document, dict) or not isinstance(document.get(keys.ROOT), dict):
        raise refusal("the file", f"a map under the key `{keys.ROOT}`", shown(document), "see docs/tuning.md")
    for name in document:
        if name != keys.ROOT:
            raise refusal(str(name), f"`{keys.ROOT}` alone", "another key", f"sections stand below `{keys.ROOT}`")
    sections = {}
    for name, section in document[keys.ROOT].items():
        if name not in keys.SECTIONS:
            remedy = nearest(str(name), keys.SECTIONS)
            raise refusal(f"section {name}", f"one of {', '.join(keys.SECTIONS)}", "an unknown section", remedy)
        if section is not None and not isinstance(section, dict):
            raise refusal(name, "a map of keys to values", shown(section), "")
        sections[name] = section or {}
    return sections


# What a key asks for that is refused otherwise, and asks for nothing.
_NOTHING: Final[tuple[Any, ...]] = (None, False, "", "none", "no", ["none"], [], {})


def _section(section: str, raw: Mapping[Any, Any], known: Known, notes: list[str]) -> dict[str, Any]:
    """One section, without what has no effect, its values in the types that its keys have."""
    idle, refused = keys.WITHOUT_EFFECT.get(section, {}), keys.REFUSED.get(section, {})
    renamed, kinds = keys.RENAMED.get(section, {}), {**known.get(section, {}), **keys.OWN.get(section, {})}
    found: dict[str, Any] = {}
    for written, value in raw.items():
        name = renamed.get(written, written)
        where = f"{section}.{written}"
        if name in idle:
            notes.append(f"{where} has no effect: {idle[name]}")
        elif name in refused:
            if value not in _NOTHING:
                raise refusal(where, "not set here", shown(value), refused[name])
        elif name not in kinds:
            remedy = nearest(str(name), {*kinds, *idle}) or "see docs/tuning.md"
            raise refusal(where, f"a key of {section}", "an unknown one", remedy)
        elif name in found:
            raise refusal(where, "each key once", f"{name} as well, which is the same", "")
        else:
            found[name] = _converted(where, value, kinds[name])
    return found


def _converted(where: str, value: Any, kinds: frozenset[str]) -> Any:
    """The value in a type that the key has: YAML reads `5e-5` as a text, and a quoted "True" is one too."""
    if isinstance(value, str) and "str" not in kinds:
        value = _out_of_text(value, kinds)
    if isinstance(value, int) and not isinstance(value, bool) and "int" not in kinds and "float" in kinds:
        value = float(value)
    name = "None" if value is None else type(value).__name__
    if name not in kinds:
        wanted = " or ".join(sorted("null" if kind == "None" else kind for kind in kinds))
        raise refusal(where, f"a value of type {wanted}", shown(value), "")
    if isinstance(value, float) and not math.isfinite(value):
        raise refusal(where, "a finite number", shown(value), "")
    return value


def _out_of_text(text: str, kinds: frozenset[str]) -> Any:
    if "bool" in kinds and text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind, convert in (("int", int), ("float", float)):
        if kind in kinds:
            try:
                return convert(text)
            except ValueError:
                continue
    return text


def _quantization(found: Mapping[str, Any], method: str) -> Mapping[str, Any]:
    bits = [name for name in ("load_in_4bit", "load_in_8bit") if found.get(name)]
    if method == LORA and bits:
        raise refusal(
            f"QuantizationConfig.{bits[0]}", "false for the method lora", "true", "tune with the method qlora"
        )
    if method == QLORA and len(bits) != 1:
        found_bits = "both" if bits else "neither"
        raise refusal("QuantizationConfig", "load_in_4bit or load_in_8bit for the method qlora", found_bits, "set one")
    return dict(found) if method == QLORA else {}


def _lora(found: Mapping[str, Any]) -> Mapping[str, Any]:
    rank = found.get("r", 8)
    if not 1 <= rank <= keys.MAX_RANK:
        raise refusal("LoraConfig.r", f"1 to {keys.MAX_RANK}, which is what can be served", shown(rank), "")
    initial = found.get("init_lora_weights", True)
    if initial not in keys.SERVABLE_INITIAL_WEIGHTS:
        allowed = ", ".join(str(one) for one in keys.SERVABLE_INITIAL_WEIGHTS)
        remedy = "the others change the base model, and the adapter would not fit to it"
        raise refusal("LoraConfig.init_lora_weights", f"one of {allowed}", shown(initial), remedy)
    if found.get("bias", "none") != "none":
        raise refusal("LoraConfig.bias", "none, as adapters with biases cannot be served", shown(found["bias"]), "")
    return dict(found)


def _model(found: Mapping[str, Any]) -> ModelOptions:
    dtype = str(found.get("dtype", found.get("torch_dtype", "auto"))).removeprefix("torch.")
    if dtype not in keys.DTYPES:
        raise refusal(
            "ModelConfig.torch_dtype", f"one of {', '.join(keys.DTYPES)}", shown(dtype), nearest(dtype, keys.DTYPES)
        )
    attention = found.get("attn_implementation")
    if attention not in (None, *keys.ATTENTION):
        remedy = "other names are those of programs on a hub"
        raise refusal(
            "ModelConfig.attn_implementation", f"one of {', '.join(keys.ATTENTION)}", shown(attention), remedy
        )
    return ModelOptions(
        dtype=dtype,
        trust_remote_code=found.get("trust_remote_code", False),
        chat_template=found.get("chat_template") or None,
        attn_implementation=attention,
    )


def _dataset(found: Mapping[str, Any]) -> DatasetOptions:
    share = found.get("train_test_split", 0.8)
    if not 0 < share <= 1:
        rule = "above 0 and at most 1, the share that is trained on"
        raise refusal("DatasetConfig.train_test_split", rule, shown(share), "1 evaluates nothing")
    return DatasetOptions(
        path=found.get("dataset_path"),
        extension=found.get("dataset_extension"),
        columns=Columns(
            context=found.get("context_column"),
            response=found.get("response_column", "text"),
            messages=found.get("messages_column", "messages"),
        ),
        shuffle=found.get("shuffle_dataset", True),
        shuffle_seed=found.get("shuffle_seed", 42),
        train_share=float(share),
    )


_AT_LEAST_ONE: Final = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "save_total_limit",
    "max_length",
)
_AT_MOST: Final = {"dataloader_num_workers": 32, "dataset_num_proc": 64}
_ABOVE_NOTHING: Final[tuple[Any, ...]] = ("num_train_epochs", "learning_rate", "save_steps", "logging_steps")


def _check_training(found: Mapping[str, Any]) -> None:
    """What the libraries would take, and then fail in the middle or never end."""
    for name in _AT_LEAST_ONE:
        if found.get(name) is not None and found[name] < 1:
            raise refusal(f"TrainingArguments.{name}", "at least 1", shown(found[name]), "")
    for name in _ABOVE_NOTHING:
        if found.get(name) is not None and not found[name] > 0:
            raise refusal(f"TrainingArguments.{name}", "above 0", shown(found[name]), "")
    for name, most in _AT_MOST.items():
        if found.get(name) is not None and not 0 <= found[name] <= most:
            raise refusal(f"TrainingArguments.{name}", f"0 to {most}", shown(found[name]), "")


def _check_output_dir(value: Any) -> None:
    """KAITO's rule: strictly below /mnt, where the pod has its volumes."""
    if value is None:
        return
    path = PurePosixPath("/mnt", value) if isinstance(value, str) else None
    if path is None or ".." in path.parts or not path.is_relative_to("/mnt") or path == PurePosixPath("/mnt"):
        raise refusal("TrainingArguments.output_dir", "a folder below /mnt", shown(value), "for example /mnt/results")
