"""Leader election beside the main loop: in a thread of its own, so that a busy main loop does not cost the lease."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.election.leadership import Callbacks, LeadershipLostError
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.process.heartbeat import die
from kaito_controller.machinery.transport import Transport

log = logger(__name__)

JOIN_S = 15.0
"""How long a thread that was asked to release the lease is waited for."""


class ElectionThread:
    """Holds a lease from a thread with its own event loop and its own connections.

    When the lease is lost the process ends at once (LE9): the next leader may already be at work.

    Args:
        transport: makes the connections; called in the thread.
        elector: makes the contender from a client on them; called in the thread.
        on_lost: what ends the process; called in the thread.
    """

    def __init__(
        self,
        transport: Callable[[], Transport],
        elector: Callable[[Client], LeaderElector],
        on_lost: Callable[[str], None] = die,
    ) -> None:
        self._make_transport = transport
        self._make_elector = elector
        self._on_lost = on_lost
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._main: asyncio.Task[None] | None = None
        self._elector: LeaderElector | None = None
        self._is_leading = False

    async def acquire(self) -> None:
        """Start to contend, and return once this process leads.

        Raises:
            Exception: what ended the thread before that, such as a ConfigurationError.
        """
        loop = asyncio.get_running_loop()
        leading: asyncio.Future[None] = loop.create_future()

        def tell(error: BaseException | None) -> None:
            # The main loop may have stopped waiting, or have ended altogether, before the lease was won.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, leading, error)

        self._thread = threading.Thread(target=self._run, args=(tell,), name="leader election", daemon=True)
        self._thread.start()
        await leading

    async def release(self) -> None:
        """Give the lease up and wait until the thread has ended. All guarded work must have ended before (LE8)."""
        thread = self._thread
        if thread is None:
            return
        self._stopping.set()
        loop, main = self._loop, self._main
        if loop is not None and main is not None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(main.cancel)
        await asyncio.to_thread(thread.join, JOIN_S)

    def check(self) -> str:
        """A health check: what is wrong with a leader that has not ended although its lease is long over (LE11)."""
        return self._elector.check() if self._elector is not None else ""

    def may_write(self) -> bool:
        """Whether guarded work may still write; any thread may ask.

        Not for a leader past its renew deadline: a process that was stopped for a while and goes on would otherwise
        write before its election thread has had a turn to end it.
        """
        elector = self._elector
        return not self._is_leading or elector is None or elector.clock.monotonic() < elector.leads_until

    def _run(self, tell: Callable[[BaseException | None], None]) -> None:
        try:
            asyncio.run(self._contend(tell))
        except (LeadershipLostError, asyncio.CancelledError):
            return
        except Exception as error:
            log.exception("leader election failed")
            tell(error)

    async def _contend(self, tell: Callable[[BaseException | None], None]) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()

        async def lead() -> None:
            self._is_leading = True
            tell(None)
            await asyncio.Event().wait()

        callbacks = Callbacks(on_started_leading=lead, on_stopped_leading=self._stopped, on_new_leader=_announce)
        transport = self._make_transport()
        try:
            self._elector = self._make_elector(Client(transport))
            if not self._stopping.is_set():
                await self._until_released(self._elector, callbacks)
        except LeadershipLostError as error:
            # Before anything is closed: a name that does not resolve holds the end of the loop for minutes.
            log.error("leadership is lost; the process ends", error=str(error))  # noqa: TRY400 - the message is all
            self._on_lost(f"leader election lost: {error}")
            raise
        except Exception as error:
            if self._is_leading:
                log.exception("leader election failed; the process ends")
                self._on_lost(f"leader election failed: {error}")
            raise
        finally:
            await transport.close()

    async def _until_released(self, elector: LeaderElector, callbacks: Callbacks) -> None:
        try:
            await elector.run(callbacks)
        except asyncio.CancelledError as error:
            if self._stopping.is_set():
                raise
            # Nobody renews from now on, and nobody asked for that.
            raise RuntimeError("what the election waited for was cancelled") from error

    def _stopped(self) -> None:
        # One that lost the lease stays marked as a leader, so that it may not write in the moments it has left.
        if self._stopping.is_set():
            self._is_leading = False


def _announce(identity: str) -> None:
    log.info("a new leader is seen", leader=identity or "nobody")


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
