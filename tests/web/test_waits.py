"""Long polls wake when the generation moves: looked for often while something is written, seldom otherwise."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from keystead.core.errors import Unavailable
from keystead.web.waits import GenerationWatch

PATIENCE = 20.0
NEVER = 1000.0


class Region:
    """A generation that a test moves, and events through a pipe."""

    def __init__(self) -> None:
        self.generation = 1
        self.asked = 0
        self.failing = False
        self.opened = 0
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK)

    def ask(self) -> int:
        self.asked += 1
        if self.failing:
            raise Unavailable("StateUnavailable", "it does not answer")
        return self.generation

    def events(self) -> "Region":
        self.opened += 1
        return self

    def write(self) -> None:
        os.write(self._writer, b"x")

    def fileno(self) -> int:
        return self._reader

    def seen(self) -> bool:
        return bool(os.read(self._reader, 4096))

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def run(work: Callable[[Region], Coroutine[Any, Any, None]]) -> None:
    region = Region()
    try:
        asyncio.run(asyncio.wait_for(work(region), PATIENCE))
    finally:
        region.close()


def test_a_change_wakes_everybody_who_has_not_seen_it() -> None:
    async def main(region: Region) -> None:
        watch = GenerationWatch(region.ask, interval_s=0.001)
        waits = [asyncio.create_task(watch.moved(1, PATIENCE)) for _ in range(5)]
        await asyncio.sleep(0)
        region.generation = 2
        assert await asyncio.gather(*waits) == [True] * 5
        assert await watch.moved(1, PATIENCE), "seen an older one: at once"

    run(main)


def test_time_passes_without_a_change_and_then_nobody_looks_any_more() -> None:
    async def main(region: Region) -> None:
        watch = GenerationWatch(region.ask, interval_s=0.001)
        assert not await watch.moved(1, 0.02)
        await asyncio.sleep(0.01)
        asked = region.asked
        await asyncio.sleep(0.02)
        assert region.asked == asked

    run(main)


def test_an_event_is_followed_closely_although_its_change_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(region: Region) -> None:
        monkeypatch.setattr("keystead.web.waits.HOT_S", 0.0)  # cold from the start
        watch = GenerationWatch(region.ask, region.events, interval_s=0.001, seldom_s=NEVER)
        wait = asyncio.create_task(watch.moved(1, PATIENCE))
        await asyncio.sleep(0.02)
        assert region.asked <= 2, "nothing tells of writing, so nobody asks"
        monkeypatch.setattr("keystead.web.waits.HOT_S", PATIENCE)
        region.write()
        while region.asked < 5:
            await asyncio.sleep(0.001)
        region.generation = 2
        assert await wait
        assert region.opened == 1

    run(main)


def test_an_event_while_nobody_waits_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(region: Region) -> None:
        monkeypatch.setattr("keystead.web.waits.HOT_S", 0.0)
        watch = GenerationWatch(region.ask, region.events, interval_s=0.001, seldom_s=NEVER)
        assert not await watch.moved(1, 0.005)
        monkeypatch.setattr("keystead.web.waits.HOT_S", PATIENCE)
        region.write()
        await asyncio.sleep(0.02)
        wait = asyncio.create_task(watch.moved(1, PATIENCE))
        await asyncio.sleep(0.005)
        region.generation = 2
        assert await wait

    run(main)


def test_seldom_is_not_never_when_events_fail_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(region: Region) -> None:
        monkeypatch.setattr("keystead.web.waits.HOT_S", 0.0)
        watch = GenerationWatch(region.ask, region.events, interval_s=NEVER, seldom_s=0.01)
        wait = asyncio.create_task(watch.moved(1, PATIENCE))
        await asyncio.sleep(0)
        region.generation = 2
        assert await wait

    run(main)


def test_a_state_that_does_not_answer_is_told_to_those_who_wait() -> None:
    async def main(region: Region) -> None:
        watch = GenerationWatch(region.ask, interval_s=0.001)
        wait = asyncio.create_task(watch.moved(1, PATIENCE))
        await asyncio.sleep(0)
        region.failing = True
        with pytest.raises(Unavailable):
            await wait
        region.failing = False
        region.generation = 2
        assert await watch.moved(1, PATIENCE), "and the next one is served again"

    run(main)
