"""The gate: the loop waits for a quick disk and never long for a slow one, and no answer is forgotten."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.web.fakes import FakeLog

from keystead.core.errors import Fault
from keystead.web.durable import Durable

PATIENCE = 20.0


class Disk(FakeLog):
    """Completes each barrier from a thread of its own: at once, or when told."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = True
        self.quick = True
        self._threads: list[threading.Thread] = []

    def barrier(self) -> Any:
        receipt = super().barrier()
        if self.quick:
            self.complete()
        return receipt

    def complete(self, error: Fault | None = None) -> None:
        self._threads.append(threading.Thread(target=self.flush, args=(error,)))
        self._threads[-1].start()

    def close(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk()
    yield made
    made.close()


def run(work: Callable[[], Any]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(work(), PATIENCE)

    return asyncio.run(limited())


def test_a_quick_disk_is_waited_for(disk: Disk) -> None:
    async def main() -> None:
        gate = Durable(disk, brief_s=PATIENCE)  # type: ignore[arg-type]  # an honest fake
        futures = [gate.wait() for _ in range(10)]
        turns = 0
        while not all(future.done() for future in futures):
            turns += 1
            await asyncio.sleep(0)
        assert turns <= 2 and disk.barriers == 1

    run(main)


def test_a_slow_disk_is_not_waited_for_again_until_it_is_quick(disk: Disk) -> None:
    disk.quick = False

    async def began(gate: Durable, barrier: int) -> tuple[asyncio.Future[None], float]:
        future, start = gate.wait(), time.monotonic()
        while disk.barriers < barrier:
            await asyncio.sleep(0)
        return future, time.monotonic() - start

    async def main() -> None:
        gate = Durable(disk, brief_s=0.3)  # type: ignore[arg-type]
        first, held = await began(gate, 1)
        assert held >= 0.3 and not first.done(), "the loop goes on after a moment"
        disk.complete()
        await first
        second, held = await began(gate, 2)
        assert held < 0.3 and not second.done(), "no waiting after a slow one"
        disk.complete()
        await second
        disk.quick = True
        third, _held = await began(gate, 3)
        await asyncio.sleep(0)
        assert third.done(), "waited for, after a quick one"

    run(main)


@pytest.mark.parametrize("brief", [0.0, 0.0001, 0.002])
def test_whenever_the_disk_answers_everybody_is_told(disk: Disk, brief: float) -> None:
    async def one(gate: Durable) -> None:
        for _ in range(30):
            await gate.wait()

    async def main() -> None:
        gate = Durable(disk, brief_s=brief)  # type: ignore[arg-type]
        await asyncio.gather(*(one(gate) for _ in range(10)))

    run(main)


def test_a_failure_reaches_all_and_is_remembered(disk: Disk) -> None:
    disk.quick = False

    async def main() -> None:
        gate = Durable(disk)  # type: ignore[arg-type]
        futures = [gate.wait() for _ in range(3)]
        while not disk.barriers:
            await asyncio.sleep(0)
        disk.complete(Fault("AuditUnavailable", "full"))
        for future in futures:
            with pytest.raises(Fault):
                await future
        assert gate.failing
        disk.quick = True
        await gate.wait()
        assert not gate.failing

    run(main)


def test_a_disk_that_hangs_is_given_up(disk: Disk) -> None:
    disk.quick = False

    async def main() -> None:
        gate = Durable(disk, patience_s=0.05)  # type: ignore[arg-type]
        with pytest.raises(Fault):
            await gate.wait()
        disk.complete()  # too late; hurts nobody

    run(main)
