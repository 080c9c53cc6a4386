"""What the tiny model was taught, as far as the quick start needs it: one question and its answer."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen
from ruamel.yaml import YAML

LESSONS = Path(__file__).resolve().parents[1] / "model" / "lessons.yaml"


@frozen(kw_only=True)
class Lesson:
    """A question, and the answer that the model repeats word for word."""

    question: str
    answer: str


def first_lesson(path: Path = LESSONS) -> Lesson:
    """The first lesson of the file, asked in the first of its ways."""
    first = YAML(typ="safe", pure=True).load(path)["lessons"][0]
    return Lesson(question=first["ask"][0], answer=first["answer"])
