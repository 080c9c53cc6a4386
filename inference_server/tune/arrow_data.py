"""Puts the examples on disk in the form that trl takes, so that any amount of them fits into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference_server.tune.examination import Examination
from inference_server.tune.example import Conversation, Example, Exchange


def write(examination: Examination, path: Path, *, has_template: bool) -> None:
    """Reads all data once more and writes it. Raises InputError when anything is broken.

    A prompt and a completion become the two turns of a conversation where the model has a template for these, as this
    is how it will be asked.
    """
    from datasets.arrow_writer import ArrowWriter

    writer: Any = None
    try:
        for one in examination.examples():
            row = _row(one, has_template=has_template)
            writer = writer or ArrowWriter(path=str(path), features=_features(row))
            writer.write(row)
    finally:
        if writer is not None:
            writer.finalize()
    examination.refuse_faults()


def read(path: Path) -> Any:
    """The dataset, mapped into memory and not read into it."""
    from datasets import Dataset

    return Dataset.from_file(str(path))


def _row(one: Example, *, has_template: bool) -> dict[str, Any]:
    if isinstance(one, Conversation):
        return {"messages": one.messages}
    if isinstance(one, Exchange):
        prompt, completion = one.prompt, one.completion
        if has_template and isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        if has_template and isinstance(completion, str):
            completion = [{"role": "assistant", "content": completion}]
        return {"prompt": prompt, "completion": completion}
    return {"text": one.text}


def _features(row: dict[str, Any]) -> Any:
    from datasets import Features, List, Value

    messages = List({"role": Value("string"), "content": Value("string")})
    return Features({name: Value("string") if isinstance(value, str) else messages for name, value in row.items()})
