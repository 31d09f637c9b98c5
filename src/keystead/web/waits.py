"""Long polls: a request that waits for the region's generation to move.

One timer per worker looks at the generation while anybody waits: often while the state is being written, seldom when
nothing tells that it is. Waiting costs no thread, and no task but its own.
"""

import asyncio
from collections.abc import Callable

from keystead.web.ports import StateEvents

INTERVAL_S = 0.01
SELDOM_S = 0.25
HOT_S = 1.0
"""How long after an event the change that it tells of may still be on its way."""


class GenerationWatch:
    """Wakes those who wait when the generation is another than the one they have seen. Belongs to one event loop."""

    def __init__(
        self,
        generation: Callable[[], int],
        events: Callable[[], StateEvents | None] = lambda: None,
        interval_s: float = INTERVAL_S,
        seldom_s: float = SELDOM_S,
    ) -> None:
        self._generation = generation
        self._open_events = events
        self._events: StateEvents | None = None
        self._interval = interval_s
        self._seldom = seldom_s
        self._hot_until: float | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def seen(self) -> int:
        """The generation now: take it before looking at what may change."""
        return self._generation()

    async def moved(self, seen: int, timeout_s: float) -> bool:
        """Wait until the generation differs from `seen`; False when `timeout_s` passed first."""
        future = asyncio.get_running_loop().create_future()
        place = (seen, future)
        self._waiting.append(place)
        if self._hot_until is None:
            self._begin(asyncio.get_running_loop())
        if self._timer is None:
            self._look()
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await future
        except TimeoutError:
            return False
        finally:
            if place in self._waiting:
                self._waiting.remove(place)
        return True

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._hot_until = loop.time() + HOT_S
        self._events = self._open_events()
        if self._events is not None:
            loop.add_reader(self._events.fileno(), self._written, self._events, loop)

    def _written(self, events: StateEvents, loop: asyncio.AbstractEventLoop) -> None:
        if events.seen():
            self._hot_until = loop.time() + HOT_S
            if self._timer is not None:
                self._timer.cancel()
                self._look()

    def _look(self) -> None:
        self._timer = None
        try:
            self._wake(self._generation(), None)
        except Exception as error:
            self._wake(None, error)
        if self._waiting:
            loop = asyncio.get_running_loop()
            hot = self._events is None or loop.time() < (self._hot_until or 0.0)
            self._timer = loop.call_later(self._interval if hot else self._seldom, self._look)

    def _wake(self, now: int | None, error: Exception | None) -> None:
        for place in [place for place in self._waiting if place[0] != now]:
            self._waiting.remove(place)
            if place[1].done():
                continue
            if error is None:
                place[1].set_result(None)
            else:
                place[1].set_exception(error)
