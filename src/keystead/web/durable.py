"""Answers wait here until their audit entries are durable (law 2).

Requests whose handlers end in the same turn of the event loop share one barrier. While it is written the loop goes on
with other requests; it is woken once for all barriers that are done.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from keystead.audit.service import AuditLog
from keystead.core.errors import Fault

PATIENCE_S = 10.0


def unavailable() -> Fault:
    """The audit log did not take the entry."""
    return Fault("AuditUnavailable", "the audit log cannot be written")


Told = Callable[[Exception | None], None]


class _Batch:
    __slots__ = ("timer", "waiting")

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None] | Told] = []
        self.timer: asyncio.TimerHandle | None = None


class Durable:
    """The gate of one event loop. Use it from that loop only."""

    def __init__(self, log: AuditLog, patience_s: float = PATIENCE_S) -> None:
        self._log = log
        self._patience = patience_s
        self._arriving = _Batch()
        self._done: deque[tuple[_Batch, Exception | None]] = deque()
        self._woken = False
        self._settling: asyncio.TimerHandle | None = None
        self.failing = False
        """Whether the last barrier failed: then nothing should be begun before another one has held."""

    def wait(self) -> "asyncio.Future[None]":
        """Done once everything appended before this call is durable; fails with a Fault when it cannot be."""
        future = asyncio.get_running_loop().create_future()
        self._add(future)
        return future

    def then(self, call: Told) -> None:
        """`call` is told once everything appended before is durable, with None, or with what went wrong."""
        self._add(call)

    def settle_in(self, seconds: float) -> None:
        """Have the audit log write what it only counts, once its window is over."""
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(seconds + 0.1, self._settle_counts)

    def _settle_counts(self) -> None:
        self._settling = None
        with suppress(Fault):  # kept until the next time
            self._log.settle()

    def _add(self, waiting: "asyncio.Future[None] | Told") -> None:
        arriving = self._arriving.waiting
        if not arriving:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._arm, loop)
        arriving.append(waiting)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._arriving = self._arriving, _Batch()

        def completed(error: Exception | None) -> None:
            # On the flusher's thread. A wake-up already on its way will find this batch too, because `_collect`
            # clears the mark before it looks.
            self._done.append((batch, error))
            if not self._woken:
                self._woken = True
                loop.call_soon_threadsafe(self._collect)

        batch.timer = loop.call_later(self._patience, self._settle, batch, unavailable())
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
        waiting, batch.waiting = batch.waiting, []  # the timer and the barrier may both come
        for each in waiting:
            if not isinstance(each, asyncio.Future):
                each(error)
            elif each.done():  # given up by its request
                continue
            elif error is None:
                each.set_result(None)
            else:
                each.set_exception(error)
