"""What a training process tells the one that supervises it: JSON lines through an inherited pipe."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, Self, TextIO

from attrs import frozen

from inference_server.tune.progress import Progress, State

ENV_DESCRIPTOR: Final = "KAITO_TUNE_CHANNEL"


@frozen
class Channel:
    """The training's end."""

    pipe: TextIO

    @classmethod
    def of_environment(cls) -> Self:
        """The pipe whose number the supervisor wrote into the environment."""
        descriptor = int(os.environ[ENV_DESCRIPTOR])
        os.set_inheritable(descriptor, False)
        return cls(os.fdopen(descriptor, "w", encoding="utf-8"))

    def tell(self, **changes: Any) -> None:
        """Changes of the progress; `state` as its value."""
        self._send({"tell": changes})

    def begin(self, step: int, total_steps: int) -> None:
        """Training begins or goes on after `step`."""
        self._send({"begin": [step, total_steps]})

    def stepped(self, step: int, epoch: float | None, tokens: int | None) -> None:
        """One more step is done."""
        self._send({"stepped": [step, epoch, tokens]})

    def gpu_memory(self, gpu: str, used_bytes: int, total_bytes: int) -> None:
        """What one GPU's memory holds now."""
        self._send({"gpu": [gpu, used_bytes, total_bytes]})

    def ended(self, code: int, cause: str) -> None:
        """The last word: what the process is about to exit with, and why."""
        self._send({"ended": [code, cause]})

    def _send(self, message: Mapping[str, Any]) -> None:
        self.pipe.write(json.dumps(message) + "\n")
        self.pipe.flush()


class Listener:
    """The supervisor's end: passes on to the progress what one process tells, and keeps its last word."""

    def __init__(self, progress: Progress, gpus: dict[str, tuple[int, int]]) -> None:
        self._progress = progress
        self._gpus = gpus
        self.ended: tuple[int, str] | None = None

    def listen(self, pipe: BinaryIO) -> None:
        """Until the process closes its end. It is our own program, so a line that is no message is an error."""
        with pipe:
            for line in pipe:
                for name, value in json.loads(line).items():
                    self._hear(name, value)

    def _hear(self, name: str, value: Any) -> None:
        if name == "tell":
            if "state" in value:
                value["state"] = State(value["state"])
            self._progress.tell(**value)
        elif name == "begin":
            self._progress.begin(*value)
        elif name == "stepped":
            self._progress.stepped(*value)
        elif name == "gpu":
            self._gpus[value[0]] = (value[1], value[2])
        elif name == "ended":
            self.ended = (value[0], value[1])
