"""Bodies that do not come: one timer for all requests that are reading theirs, instead of one for each."""

import asyncio
from typing import Final

LOOKS: Final = 4


class Patience:
    """Ends those who read for longer than `seconds`, and at most a quarter more. Belongs to one event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # Those who read, with how often they were looked at: the clock is not asked for each of them.
        self._reading: dict[asyncio.Task[object], int] = {}
        self._ended: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> "asyncio.Task[object]":
        """The running task begins to read."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("requests are served by tasks of asyncio")
        self._reading[task] = 0
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds / LOOKS, self._look, loop)
        return task

    def end(self, task: "asyncio.Task[object]") -> bool:
        """It has ended reading; True when it was ended because it took too long."""
        del self._reading[task]
        if task in self._ended:
            self._ended.remove(task)
            task.uncancel()
            return True
        return False

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for task, looks in self._reading.items():
            self._reading[task] = looks + 1
            if looks >= LOOKS and task not in self._ended:
                self._ended.add(task)
                task.cancel()
        if self._reading:
            self._timer = loop.call_later(self._seconds / LOOKS, self._look, loop)
