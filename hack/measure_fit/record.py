"""The data file: one line of JSON for each start that said something of memory."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from measure_fit.comparison import Figures
from measure_fit.gpu import Hardware
from measure_fit.model_config import MeasuredModel
from measure_fit.prediction import Prediction
from measure_fit.problem import MeasureProblem

DATA: Final = Path(__file__).resolve().parents[1] / "measurements" / "fits.jsonl"


@frozen(kw_only=True)
class Record:
    """One start, as predicted; `measured` once it was, or `failure` where the engine ran out of memory."""

    date: datetime
    version: str
    hardware: Hardware
    words: tuple[str, ...]
    model: MeasuredModel
    prediction: Prediction
    measured: Figures | None = None
    failure: str | None = None

    def line(self) -> dict[str, Any]:
        """The line, decoded."""
        given = self.prediction.given(self.measured) if self.measured is not None else None
        return {
            "date": self.date.isoformat(timespec="seconds"),
            "vllm": self.version,
            "gpu": self.hardware.summary(),
            "flags": list(self.words),
            "config": self.model.summary(),
            "predicted": {**_told(self.prediction.figures), **self.prediction.summary()},
            "predictedInEngineSpace": _told(given),
            "measured": _told(self.measured) if self.measured is not None else None,
            "failure": self.failure,
        }


def append(path: Path, record: Record) -> None:
    """Add a line to the file, which is made if it is not there.

    Raises:
        MeasureProblem: it cannot be written.
    """
    line = json.dumps(record.line()) + "\n"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise MeasureProblem(f"{path} cannot be written ({error.strerror}): name another with --data") from None


def refuse_unwritable(path: Path) -> None:
    """Find out before an engine is started for minutes whether a file can be written.

    Raises:
        MeasureProblem: it cannot.
    """
    if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise MeasureProblem(f"{path} cannot be written: name another with --data")


def _told(figures: Figures | None) -> dict[str, int]:
    """What is known, by JSON's names: kv_space becomes kvSpace."""
    found = asdict(figures) if figures is not None else {}
    return {_camel(name): value for name, value in found.items() if value is not None}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
