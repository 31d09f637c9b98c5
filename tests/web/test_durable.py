"""The gate: the loop never waits for the disk, and no answer is forgotten."""

import asyncio
import threading
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


def test_the_loop_goes_on_while_the_disk_writes_and_a_turn_is_one_barrier(disk: Disk) -> None:
    disk.quick = False

    async def main() -> None:
        gate = Durable(disk)  # type: ignore[arg-type]  # an honest fake
        futures = [gate.wait() for _ in range(10)]
        told: list[Exception | None] = []
        gate.then(told.append)
        while not disk.barriers:
            await asyncio.sleep(0)
        later = gate.wait()
        while disk.barriers < 2:
            await asyncio.sleep(0)
        assert not told and not later.done() and not any(future.done() for future in futures)
        disk.complete()
        await asyncio.gather(*futures, later)
        assert told == [None] and disk.barriers == 2

    run(main)


def test_whenever_the_disk_answers_everybody_is_told(disk: Disk) -> None:
    async def one(gate: Durable) -> None:
        for _ in range(30):
            await gate.wait()

    async def main() -> None:
        gate = Durable(disk)  # type: ignore[arg-type]
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
