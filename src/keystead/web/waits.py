"""Long polls: a request that waits for the region's generation to move.

One task per worker looks at the generation while anybody waits; waiting costs no thread.
"""

import asyncio
from collections.abc import Callable

INTERVAL_S = 0.01


class GenerationWatch:
    """Wakes those who wait when the generation is another than the one they have seen."""

    def __init__(self, generation: Callable[[], int], interval_s: float = INTERVAL_S) -> None:
        self._generation = generation
        self._interval = interval_s
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    def seen(self) -> int:
        """The generation now: take it before looking at what may change."""
        return self._generation()

    async def moved(self, seen: int, timeout_s: float) -> bool:
        """Wait until the generation differs from `seen`; False when `timeout_s` passed first."""
        future = asyncio.get_running_loop().create_future()
        place = (seen, future)
        self._waiting.append(place)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                await future
        except TimeoutError:
            return False
        finally:
            if place in self._waiting:
                self._waiting.remove(place)
        return True

    async def _look(self) -> None:
        while self._waiting:
            try:
                now = self._generation()
            except Exception as error:
                self._wake(None, error)
                return
            self._wake(now, None)
            await asyncio.sleep(self._interval)

    def _wake(self, now: int | None, error: Exception | None) -> None:
        for place in [place for place in self._waiting if place[0] != now]:
            self._waiting.remove(place)
            if place[1].done():
                continue
            if error is None:
                place[1].set_result(None)
            else:
                place[1].set_exception(error)
