"""What the tiny model is taught: the questions with their answers, and the sentences it reads beside them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import vocabulary
import yaml
from attrs import frozen

HERE = Path(__file__).resolve().parent


@frozen(kw_only=True)
class Lesson:
    """One answer and every way of asking for it."""

    ask: tuple[str, ...]
    answer: str


@frozen(kw_only=True)
class Call:
    """One call of a tool, every way of asking for it, and what is said after each of its results."""

    tool: Mapping[str, Any]
    ask: tuple[str, ...]
    arguments: Mapping[str, Any]
    answers: Mapping[str, str]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """As a request offers it."""
        return [{"type": "function", "function": dict(self.tool)}]

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's turn that makes the call."""
        function = {"name": self.tool["name"], "arguments": dict(self.arguments)}
        return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}

    @property
    def text(self) -> str:
        """The call as the model writes it."""
        return vocabulary.call_text(self.tool["name"], json.dumps(self.arguments))


@frozen(kw_only=True)
class Case:
    """A prompt and what must follow it, word for word."""

    messages: list[dict[str, Any]]
    wanted: str
    tools: list[dict[str, Any]] | None = None


@frozen(kw_only=True)
class Course:
    """Everything that is taught: lessons and calls are to be known by heart, sentences only to be read."""

    lessons: tuple[Lesson, ...]
    sentences: tuple[str, ...]
    calls: tuple[Call, ...] = ()

    def every_text(self) -> list[str]:
        """All the text there is, for the tokenizer to learn from."""
        said = [text for lesson in self.lessons for text in (*lesson.ask, lesson.answer)]
        called = [text for call in self.calls for text in (*call.ask, call.text, *call.answers, *call.answers.values())]
        return [*said, *called, *self.sentences]

    @property
    def first_turn(self) -> list[dict[str, str]]:
        """The last lesson, asked and answered."""
        first = self.lessons[-1]
        return [{"role": "user", "content": first.ask[0]}, {"role": "assistant", "content": first.answer}]

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

    def calling(self, chance: random.Random) -> Case:
        """A tool called and answered, sometimes after an ordinary turn."""
        call = chance.choice(self.calls)
        result, answer = chance.choice(list(call.answers.items()))
        # The last lesson is the shortest, so that all of it fits into one window.
        earlier = chance.choice(([], self.first_turn))
        asked = {"role": "user", "content": chance.choice(call.ask)}
        told = {"role": "tool", "content": result}
        return Case(messages=[*earlier, asked, call.message, told], wanted=answer, tools=call.tools)

    def cases(self) -> Iterator[Case]:
        """Everything to be known by heart: alone, and after a first question that was answered."""
        for earlier in ([], self.first_turn):
            for lesson in self.lessons:
                for ask in lesson.ask:
                    yield Case(messages=[*earlier, {"role": "user", "content": ask}], wanted=lesson.answer)
            for call in self.calls:
                for ask in call.ask:
                    asked = [*earlier, {"role": "user", "content": ask}]
                    yield Case(messages=asked, wanted=call.text, tools=call.tools)
                    for result, answer in call.answers.items():
                        told = {"role": "tool", "content": result}
                        yield Case(messages=[*asked, call.message, told], wanted=answer, tools=call.tools)


def load() -> Course:
    """Reads lessons.yaml and reader.txt from beside this file."""
    raw = yaml.safe_load((HERE / "lessons.yaml").read_text(encoding="utf-8"))
    lessons = tuple(Lesson(ask=tuple(one["ask"]), answer=one["answer"]) for one in raw["lessons"])
    tools = {tool["name"]: tool for tool in raw.get("tools", ())}
    calls = tuple(_call(one, tools[one["tool"]]) for one in raw.get("calls", ()))
    sentences = tuple((HERE / "reader.txt").read_text(encoding="utf-8").splitlines())
    return Course(lessons=lessons, sentences=sentences, calls=calls)


def _call(raw: Mapping[str, Any], tool: Mapping[str, Any]) -> Call:
    answers = {one["result"]: one["answer"] for one in raw["results"]}
    return Call(tool=tool, ask=tuple(raw["ask"]), arguments=raw["arguments"], answers=answers)
