"""The model that is measured: a config.json, and what the catalogue's reader makes of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from kaito_controller.catalog.config_json.reader import read_config
from kaito_controller.catalog.model import Preset
from kaito_controller.sources.json_text import decode_object
from kaito_controller.sources.model_files import CONFIG
from kaito_controller.sources.reading import CONFIG_LIMIT_BYTES
from measure_fit.problem import MeasureProblem

# The engine makes its weights up, of exactly the architecture's shapes: no checkpoint says more.
_NO_CHECKPOINT: Final = 1


@frozen(kw_only=True)
class MeasuredModel:
    """The text of a config.json, where it was, and the model as the ledger takes it."""

    path: Path
    raw: bytes
    preset: Preset

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.raw).hexdigest()

    def summary(self) -> dict[str, Any]:
        """What a data line says of the model."""
        architecture, packing = self.preset.architecture, self.preset.quantisation
        return {
            "sha256": self.digest,
            "architecture": architecture.name,
            "layers": architecture.layers,
            "hiddenSize": architecture.hidden_size,
            "attentionHeads": architecture.attention_heads,
            "kvHeads": architecture.kv_heads,
            "headDim": architecture.head_dim,
            "experts": architecture.experts.count if architecture.experts is not None else None,
            "vocabulary": architecture.vocabulary_size,
            "dtype": self.preset.dtype,
            "quantisation": packing.method if packing is not None else None,
            "tokenLimit": self.preset.token_limit,
        }


def read_model_config(path: Path) -> MeasuredModel:
    """The model of a config.json, or of the folder that holds one.

    Raises:
        MeasureProblem: there is no such file, or it is too large.
        SourceError, ConfigProblem: it is no JSON, or no model.
    """
    file = path / CONFIG if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            raw = opened.read(CONFIG_LIMIT_BYTES + 1)
    except OSError as error:
        raise MeasureProblem(f"{file} cannot be read ({error.strerror}): give a config.json or its folder") from None
    if len(raw) > CONFIG_LIMIT_BYTES:
        raise MeasureProblem(f"{file} is larger than {CONFIG_LIMIT_BYTES} bytes, which no config.json is")
    read = read_config(decode_object(raw, what=str(file)))
    preset = Preset(
        name=file.parent.resolve().name or str(file),
        family="",
        model_id=str(file),
        licence="",
        token_limit=read.token_limit,
        unasked_token_limit=read.unasked_token_limit,
        dtype=read.dtype,
        weights_bytes=_NO_CHECKPOINT,
        architecture=read.architecture,
        quantisation=read.quantisation,
    )
    return MeasuredModel(path=file, raw=raw, preset=preset)
