"""Credentials from a program that the kubeconfig names, such as a cloud's login tool.

The library's own runs it in every loading, without a limit of time, and forgets certificates; so it is run here.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from signal import SIGKILL

from attrs import define, field

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.rest.exec_protocol import (
    CredentialsError,
    PluginCredentials,
    PluginSettings,
    parse_credentials,
)

RUN_S = 30.0
"""Seconds that a run may take. client-go sets no limit; here a hung program would silence a reflector for good."""
OUTPUT_BYTES = 1 << 20
PIPES_S = 1.0
COMPLAINT_CHARACTERS = 300
"""How much of the program's last words an error repeats."""


@define(kw_only=True)
class ExecPlugin:
    """Runs the program when its last credentials are used up: expired, or refused when they name no expiry (RC4).

    One run at a time; who asks meanwhile gets the outcome of that run, also when it failed.
    """

    settings: PluginSettings
    clock: Clock
    run_s: float = RUN_S
    _lock: asyncio.Lock = field(init=False, factory=asyncio.Lock)
    _current: PluginCredentials | None = field(init=False, default=None)
    _refused: bool = field(init=False, default=False)
    _runs: int = field(init=False, default=0)
    _failure: CredentialsError | None = field(init=False, default=None)

    async def credentials(self) -> PluginCredentials:
        """The credentials to use now.

        Raises:
            CredentialsError: the program failed, hung or printed something else.
        """
        runs = self._runs
        if (usable := self._usable()) is not None:
            return usable
        async with self._lock:
            if (usable := self._usable()) is not None:
                return usable
            if self._runs != runs and self._failure is not None:
                raise CredentialsError(str(self._failure)) from self._failure
            return await self._run()

    def refuse(self, refused: PluginCredentials) -> None:
        """The server answered 401 to these: run again before the next use, unless that was done meanwhile."""
        if self._current is refused:
            self._refused = True

    def _usable(self) -> PluginCredentials | None:
        current = self._current
        if current is None or self._refused:
            return None
        return current if current.expires is None or self.clock.now() <= current.expires else None

    async def _run(self) -> PluginCredentials:
        # Whoever waits for a run that is cancelled must not be told how the one before it ended.
        self._failure = None
        try:
            output = await _output(self.settings, self.run_s)
            self._current = parse_credentials(self.settings, output)
        except CredentialsError as error:
            self._failure = error
            raise
        else:
            self._refused = False
            return self._current
        finally:
            self._runs += 1


async def _output(settings: PluginSettings, limit_s: float) -> bytes:
    """What the program prints; it is killed with all that it started when it takes or prints too much."""
    what = f"exec plugin {settings.command}"
    process = await _started(settings)
    finished = False
    try:
        async with asyncio.timeout(limit_s):
            output, complaint = await asyncio.gather(_read(process, process.stdout), _read(process, process.stderr))
            code = await process.wait()
            finished = True
    except TimeoutError as error:
        raise CredentialsError(f"{what}: must answer within {limit_s:g} s; it was killed") from error
    finally:
        if not finished:
            await _end(process)
    if len(output) > OUTPUT_BYTES:
        raise CredentialsError(f"{what}: must print one ExecCredential; it printed over {OUTPUT_BYTES} bytes")
    if code:
        words = " ".join(complaint.decode(errors="replace").split())[-COMPLAINT_CHARACTERS:]
        raise CredentialsError(f"{what}: ended with code {code} ({words or 'it said nothing'})")
    return output


async def _started(settings: PluginSettings) -> asyncio.subprocess.Process:
    spawning = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            settings.command,
            *settings.arguments,
            env=os.environ | settings.environment | {"KUBERNETES_EXEC_INFO": settings.exec_info},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    )
    try:
        # Cancelled in the middle, asyncio would kill the program alone and wait for its children to close the pipes.
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        # One that cannot be run has nothing to end; its error must not take the place of the cancellation.
        with suppress(OSError, ValueError):
            await _end(await spawning)
        raise
    except (OSError, ValueError) as error:
        hint = settings.install_hint.strip() or "install it, or correct the kubeconfig"
        raise CredentialsError(f"exec plugin {settings.command}: cannot be run ({error}); {hint}") from error


async def _read(process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None) -> bytes:
    """Everything, or just over the limit of it; then the program is killed."""
    parts: list[bytes] = []
    size = 0
    while stream is not None and (part := await stream.read(1 << 16)):
        if size > OUTPUT_BYTES:
            continue
        parts.append(part)
        size += len(part)
        if size > OUTPUT_BYTES:
            _kill(process)
    return b"".join(parts)


def _kill(process: asyncio.subprocess.Process) -> None:
    # A login script's children would outlive it, so its whole session goes.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill it, and read the pipes to their ends: only then asyncio closes them and calls the process over."""
    _kill(process)
    with suppress(TimeoutError):
        # A child that left the session may hold a pipe open for as long as it lives.
        async with asyncio.timeout(PIPES_S):
            await asyncio.gather(_read(process, process.stdout), _read(process, process.stderr))
            await process.wait()
