"""client-go, playing scenarios: the Go program of hack/binaries/peers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from kaito_controller.testing.oracle.outcome import Outcome
from kaito_controller.testing.oracle.script import Scenario
from kaito_controller.testing.oracle.server import ScriptServer
from kaito_controller.testing.programs import built

MODULE = "peers"


class PeerFailedError(Exception):
    """The Go program ended with an error; its words are the message."""


async def play_all(
    scenarios: Sequence[Scenario], server: ScriptServer, *, watch_list: bool, crash: bool = False
) -> Mapping[str, Outcome]:
    """Every scenario at once, in one process whose feature gate of WatchList streaming is as given.

    With `crash`, a handler that panics ends the process, which is client-go's default.
    """
    arguments = ["informer", *(["--crash"] if crash else []), server.url]
    found = await ask(arguments, [each.for_peer() for each in scenarios], watch_list=watch_list)
    return {
        each.name: Outcome.of(found[each.name], server.plays[each.name].requests, by_key=each.watch_list)
        for each in scenarios
    }


async def ask(arguments: Sequence[str], question: Any, *, watch_list: bool = True) -> Any:
    """Give the program a question on its standard input and return its answer.

    Raises:
        PeerFailedError: it ended with an error.
    """
    program = await asyncio.to_thread(built, MODULE) / "clientgo"
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "KUBE_FEATURE_WatchListClient": "true" if watch_list else "false"},
    )
    try:
        answer, said = await process.communicate(json.dumps(question).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise PeerFailedError(said.decode(errors="replace")[:2000])
    return json.loads(answer)
