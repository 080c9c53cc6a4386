"""Waits for the model's files, which the agent of the same pod brings while this process imports the engine."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field, frozen

from inference_server import contract
from inference_server.refusal import InputError, shown
from inference_server.weights.wording import progress_text

ASK_EVERY_S: Final = 0.5
TELL_EVERY_S: Final = 15.0
# The agent's container starts before this one; when it answers nothing for so long, it does not come.
SILENCE_LIMIT_S: Final = 120.0
# So long without one more byte. The kubelet's startup probe bounds the whole.
STANDSTILL_LIMIT_S: Final = 900.0
_TIMEOUT_S: Final = 5.0

Ask = Callable[[], Mapping[str, Any]]
"""The agent's report of the weights; raises OSError or ValueError when it cannot be had."""


@frozen(kw_only=True)
class Clock:
    """Seconds that pass, and waiting for them."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@define(kw_only=True)
class Wait:
    """One wait. `tell` is given a line now and then."""

    ask: Ask
    tell: Callable[[str], None]
    clock: Clock = field(factory=Clock)
    _answered_at: float = field(init=False, default=0.0)
    _moved_at: float = field(init=False, default=0.0)
    _told_at: float = field(init=False, default=float("-inf"))
    _done: object = field(init=False, default=None)
    _found: str = field(init=False, default="no answer yet")

    def folder(self) -> str:
        """The folder with the files, once they are all there.

        Raises:
            InputError: the agent has failed, with its message and exit code, or it is silent, or nothing moves.
        """
        self._answered_at = self._moved_at = self.clock.monotonic()
        while True:
            report = self._report()
            state = report.get("state")
            if state == contract.WEIGHTS_READY and isinstance(report.get("folder"), str):
                return str(report["folder"])
            if state == contract.WEIGHTS_FAILED:
                raise _failed(report)
            self._check_bounds(report)
            self.clock.sleep(ASK_EVERY_S)

    def _report(self) -> Mapping[str, Any]:
        try:
            report = self.ask()
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._found = f"{type(error).__name__}: {error}"
            return {}
        self._answered_at = self.clock.monotonic()
        return report

    def _check_bounds(self, report: Mapping[str, Any]) -> None:
        now = self.clock.monotonic()
        if now - self._answered_at > SILENCE_LIMIT_S:
            raise InputError(
                field=contract.ARG_WEIGHTS_AGENT,
                rule=f"the agent beside this server answers within {SILENCE_LIMIT_S:.0f} s",
                found=self._found,
                remedy=f"see the log of the container {contract.AGENT_CONTAINER}",
                exit_code=contract.EXIT_UNAVAILABLE,
            )
        if report and report.get("bytesDone") != self._done:
            self._done, self._moved_at = report.get("bytesDone"), now
        if now - self._moved_at > STANDSTILL_LIMIT_S:
            raise InputError(
                field="weights",
                rule=f"more of them must come within {STANDSTILL_LIMIT_S:.0f} s",
                found=_line(report),
                remedy=f"see the log of the container {contract.AGENT_CONTAINER}",
                exit_code=contract.EXIT_UNAVAILABLE,
            )
        if now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            self.tell(f"waiting for the weights: {_line(report)}")


def loopback(url: str) -> Ask:
    """Asks the agent at a URL on this machine."""
    parts = urlsplit(url)

    def ask() -> Mapping[str, Any]:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", contract.REPORT_PATH)
            raw = connection.getresponse().read(contract.REPORT_MAX_BYTES)
        finally:
            connection.close()
        report = json.loads(raw)
        weights = report.get("weights") if isinstance(report, dict) else None
        if isinstance(weights, dict):
            return weights
        raise ValueError(f"a report without weights: {shown(report)}")

    return ask


def with_model(argv: Sequence[str], folder: str) -> list[str]:
    """The arguments with that folder as the model: of an option given twice the last counts."""
    return [*argv, contract.ARG_MODEL, folder]


def _failed(report: Mapping[str, Any]) -> InputError:
    code = report.get("exitCode")
    return InputError(
        field="weights",
        rule="must be there before the engine starts",
        found=str(report.get("message") or "an agent that gave up without a word")[:2000],
        exit_code=code if type(code) is int else contract.EXIT_MODEL,
    )


def _line(report: Mapping[str, Any]) -> str:
    done, total, speed = (_count(report.get(name)) for name in ("bytesDone", "bytesTotal", "bytesPerSecond"))
    far = progress_text(done, total, speed) if done is not None else ""
    said = str(report.get("message") or "")[:500]
    return "; ".join(part for part in (far, said) if part) or "nothing is known yet"


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
