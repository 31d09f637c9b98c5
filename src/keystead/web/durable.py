"""Answers wait here until their audit entries are durable (law 2).

Requests whose handlers end in the same turn of the event loop share one barrier, and barriers that the log's flusher
completes together cost the loop one wake-up. No thread and no lock per request.
"""

import asyncio
from collections import deque

from keystead.audit.service import AuditLog
from keystead.core.errors import Fault

PATIENCE_S = 10.0


def unavailable() -> Fault:
    """The audit log did not take the entry."""
    return Fault("AuditUnavailable", "the audit log cannot be written")


class _Batch:
    __slots__ = ("futures", "timer")

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[None]] = []
        self.timer: asyncio.TimerHandle | None = None


class Durable:
    """The gate of one event loop. Use it from that loop only."""

    def __init__(self, log: AuditLog, patience_s: float = PATIENCE_S) -> None:
        self._log = log
        self._patience = patience_s
        self._arriving = _Batch()
        self._done: deque[tuple[_Batch, Exception | None]] = deque()
        self._woken = False
        self.failing = False
        """Whether the last barrier failed: then nothing should be begun before another one has held."""

    def wait(self) -> "asyncio.Future[None]":
        """Done once everything appended before this call is durable; fails with a Fault when it cannot be."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        futures = self._arriving.futures
        if not futures:
            loop.call_soon(self._arm, loop)
        futures.append(future)
        return future

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._arriving = self._arriving, _Batch()
        batch.timer = loop.call_later(self._patience, self._settle, batch, unavailable())

        def completed(error: Exception | None) -> None:
            # On the flusher's thread. A wake-up already on its way will find this batch too, because `_collect`
            # clears the mark before it looks.
            self._done.append((batch, error))
            if not self._woken:
                self._woken = True
                loop.call_soon_threadsafe(self._collect)

        try:
            self._log.barrier().add_done_callback(completed)
        except Exception as error:
            self._settle(batch, error)

    def _collect(self) -> None:
        self._woken = False
        while self._done:
            self._settle(*self._done.popleft())

    def _settle(self, batch: _Batch, error: Exception | None) -> None:
        if batch.timer is not None:
            batch.timer.cancel()
        self.failing = error is not None
        for future in batch.futures:
            if future.done():  # given up by its request, or settled before by the timer
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
