"""What the tiny model is taught: the questions with their answers, and the sentences it reads beside them."""

from __future__ import annotations

import random
from pathlib import Path

import yaml
from attrs import frozen

HERE = Path(__file__).resolve().parent


@frozen(kw_only=True)
class Lesson:
    """One answer and every way of asking for it."""

    ask: tuple[str, ...]
    answer: str


@frozen(kw_only=True)
class Course:
    """Everything that is taught: lessons are to be known by heart, sentences only to be read."""

    lessons: tuple[Lesson, ...]
    sentences: tuple[str, ...]

    def every_text(self) -> list[str]:
        """All the text there is, for the tokenizer to learn from."""
        return [text for lesson in self.lessons for text in (*lesson.ask, lesson.answer)] + list(self.sentences)

    def conversation(self, chance: random.Random) -> list[dict[str, str]]:
        """One to three turns picked by `chance`, so that an answer does not depend on being the first."""
        messages = []
        for _ in range(chance.choice((1, 1, 2, 3))):
            lesson = chance.choice(self.lessons)
            messages.append({"role": "user", "content": chance.choice(lesson.ask)})
            messages.append({"role": "assistant", "content": lesson.answer})
        return messages

    def retelling(self, chance: random.Random) -> list[dict[str, str]]:
        """A request to go on with a sentence: this is how the model learns to say words that no lesson holds."""
        sentence = chance.choice(self.sentences)
        words = sentence.split(" ")
        cut = chance.randint(1, max(1, len(words) // 3))
        return [
            {"role": "user", "content": "Go on: " + " ".join(words[:cut])},
            {"role": "assistant", "content": " ".join(words[cut:])},
        ]


def load() -> Course:
    """Reads lessons.yaml and reader.txt from beside this file."""
    raw = yaml.safe_load((HERE / "lessons.yaml").read_text(encoding="utf-8"))
    lessons = tuple(Lesson(ask=tuple(one["ask"]), answer=one["answer"]) for one in raw["lessons"])
    sentences = tuple((HERE / "reader.txt").read_text(encoding="utf-8").splitlines())
    return Course(lessons=lessons, sentences=sentences)
