"""The errors in what a child process prints: found line by line and kept, bounded in number and length."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from attrs import define, field, frozen

MAX_COMPLAINTS: Final = 200
MAX_LINE_BYTES: Final = 4096
MAX_TEXT: Final = 700
# How many lines an error message may go on for, as those of pydantic do.
MAX_FOLLOWING: Final = 3
COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
# `(EngineCore pid=104) ERROR 05-01 14:39:06 [core.py:1131] text`, of which vLLM leaves parts out.
PREFIX: Final = re.compile(
    r"(?:\((?P<process>[^()]*pid=\d+[^()]*)\) ?)?"
    r"(?:(?P<level>[A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[^\]]*\] ?)?)?(?P<text>.*)"
)
# The last line of a Python traceback; and what native code says of its end: NCCL, the kernel's signals, glibc, CUDA.
ERROR: Final = re.compile(
    r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failure): ?\S|OSError\(|NCCL WARN |Bus error|Fatal Python error"
)
# One of these is in every line that the pattern finds, and in few others.
MARKS: Final = (b"Error", b"Exception", b"Failure", b"NCCL WARN", b"Bus error")
QUIET_LEVELS: Final = frozenset({"INFO", "DEBUG", "WARNING"})


@frozen(kw_only=True)
class Complaint:
    """One error that a process told: which process, and what."""

    process: str
    text: str


@define
class Complaints:
    """The errors among the lines of one stream, the last MAX_COMPLAINTS of them."""

    kept: deque[Complaint] = field(factory=lambda: deque(maxlen=MAX_COMPLAINTS))
    _rest: bytes = b""
    _skipping: bool = False
    _following: int = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the stream."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self._skipping:
                self._line(line)
            self._skipping = False
        if len(rest) > MAX_LINE_BYTES and not self._skipping:
            self._line(rest)
            self._skipping = True
        self._rest = b"" if self._skipping else rest

    def end(self) -> None:
        """The stream is over: what has no line end is a line too."""
        self.feed(b"\n")

    def _line(self, line: bytes) -> None:
        if not self._following and not any(mark in line for mark in MARKS):
            # Nearly every line: one for each request.
            return
        text = COLOUR.sub("", line[:MAX_LINE_BYTES].decode("utf-8", errors="replace"))
        found = PREFIX.match(text)
        assert found is not None  # noqa: S101 (every part of the pattern is optional)
        process, level, said = found["process"] or "", found["level"] or "", found["text"]
        if self._following and said.startswith(" ") and not said.lstrip().startswith(("File ", "^", "~")):
            self._following -= 1
            self._follow(said)
            return
        self._following = 0
        native = "NCCL WARN" in said
        error = ERROR.search(said) if native else ERROR.match(said)
        if error is not None and (native or level not in QUIET_LEVELS):
            self.kept.append(Complaint(process=process.partition(" ")[0], text=said[:MAX_TEXT].strip()))
            self._following = MAX_FOLLOWING

    def _follow(self, said: str) -> None:
        last = self.kept.pop()
        self.kept.append(Complaint(process=last.process, text=f"{last.text} {said.strip()}"[:MAX_TEXT]))
