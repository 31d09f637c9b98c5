"""Answers wait here until their audit entries are durable (law 2).

Requests whose handlers end in the same turn of the event loop share one barrier. While the disk is quick the loop waits
for it, `brief_s` at most: that costs less than being woken again, and meanwhile the HTTP server's own threads, which
otherwise must take the interpreter's lock from the loop request by request, hand over all that has arrived. When a
barrier took longer the loop goes on with other requests, and is woken once for all barriers that are done.
"""

import asyncio
from collections import deque
from threading import Lock
from time import monotonic

from keystead.audit.service import AuditLog
from keystead.core.errors import Fault

PATIENCE_S = 10.0
BRIEF_S = 0.002


def unavailable() -> Fault:
    """The audit log did not take the entry."""
    return Fault("AuditUnavailable", "the audit log cannot be written")


class _Batch:
    __slots__ = ("futures", "landed", "left", "timer")

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[None]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.landed = Lock()  # held until its barrier is done
        self.landed.acquire()
        self.left = False  # the loop does not wait for it any more: wake it


class Durable:
    """The gate of one event loop. Use it from that loop only."""

    def __init__(self, log: AuditLog, patience_s: float = PATIENCE_S, brief_s: float = BRIEF_S) -> None:
        self._log = log
        self._patience = patience_s
        self._brief = brief_s
        self._arriving = _Batch()
        self._done: deque[tuple[_Batch, Exception | None]] = deque()
        self._woken = False
        self._slow = False
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
        began = monotonic()

        def completed(error: Exception | None) -> None:
            # On the flusher's thread. A wake-up already on its way will find this batch too, because `_collect`
            # clears the mark before it looks.
            self._slow = monotonic() - began > self._brief
            self._done.append((batch, error))
            batch.landed.release()
            if batch.left and not self._woken:
                self._woken = True
                loop.call_soon_threadsafe(self._collect)

        try:
            self._log.barrier().add_done_callback(completed)
        except Exception as error:
            self._settle(batch, error)
            return
        if not self._slow and batch.landed.acquire(timeout=self._brief):
            self._collect()
            return
        batch.timer = loop.call_later(self._patience, self._settle, batch, unavailable())
        batch.left = True
        if batch.landed.acquire(blocking=False):  # done in between: perhaps it did not see that we left
            self._collect()

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
