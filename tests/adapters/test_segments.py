"""The journal: what it has taken is on disk when the receipt says so, through kill -9, a full disk and a dying one."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.journals import PATIENCE, read, refused
from tests.fakes.disk import FailingDisk
from tests.fakes.entries import entry

from keystead.adapters.segment_files import Disk, list_segments, verify_trail
from keystead.adapters.segments import GroupReceipt, SegmentJournal
from keystead.audit.model import Head
from keystead.audit.service import AuditLog
from keystead.core.errors import Fault


def test_what_a_receipt_promises_is_there(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    log = AuditLog(opened())
    for number in range(5):
        log.append(entry(number)).wait(PATIENCE)
        assert read(tmp_path / "audit")[-1] == entry(number)
    assert verify_trail(tmp_path / "audit").intact


def test_a_barrier_covers_everything_taken_before_it(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk)
    assert journal.barrier().done, "nothing was taken yet"
    disk.hold()
    journal.append(entry(0))
    assert disk.waiting.wait(PATIENCE)
    first = journal.barrier()
    journal.append(entry(1))
    second = journal.barrier()
    assert not first.done
    assert not second.done
    disk.go_on.set()
    second.wait(PATIENCE)
    assert first.done, "groups are decided in order"
    assert read(tmp_path / "audit") == [entry(0), entry(1)]
    assert journal.barrier().done


def test_all_that_is_taken_while_the_disk_is_busy_is_one_write(opened: Callable[..., SegmentJournal]) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk)
    disk.hold()
    journal.append(entry(0))
    assert disk.waiting.wait(PATIENCE)
    before = disk.writes
    receipts = {journal.append(entry(number)) for number in range(1, 40)}
    assert len(receipts) == 1
    disk.go_on.set()
    receipts.pop().wait(PATIENCE)
    assert disk.writes == before + 2


def test_a_journal_that_gathers_writes_when_a_barrier_asks(opened: Callable[..., SegmentJournal]) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk, gather=True)
    before = disk.writes
    for number in range(20):
        journal.append(entry(number))
    assert disk.writes == before
    journal.barrier().wait(PATIENCE)
    assert disk.writes == before + 1
    journal.append(entry(20)).wait(PATIENCE)  # without a barrier: a little later, by itself
    assert disk.writes == before + 2
    assert journal.barrier().done


def test_many_threads_that_gather_lose_nothing(
    opened: Callable[..., SegmentJournal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keystead.adapters.segments.GATHER_S", 0.0005)  # so that both ways of waking meet
    journal = opened(segment_bytes=256 * 1024, gather=True)

    def act(start: int) -> None:
        for number in range(start, start + 200):
            receipt = journal.append(entry(number))
            (receipt if number % 3 else journal.barrier()).wait(PATIENCE)

    threads = [threading.Thread(target=act, args=(n * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(tmp_path / "audit")
    assert sorted(one.id for one in found) == sorted(entry(n * 1000 + m).id for n in range(8) for m in range(200))


def test_many_threads_lose_nothing(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    journal = opened(segment_bytes=256 * 1024)

    def act(start: int) -> None:
        for number in range(start, start + 200):
            journal.append(entry(number)).wait(PATIENCE)

    threads = [threading.Thread(target=act, args=(n * 1000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read(tmp_path / "audit")
    assert sorted(one.id for one in found) == sorted(entry(n * 1000 + m).id for n in range(8) for m in range(200))
    assert len(list_segments(tmp_path / "audit")["serve-1"]) > 3, "it rolled"
    report = verify_trail(tmp_path / "audit")
    assert (report.intact, report.entries) == (True, 1600)


def test_callbacks_come_once_from_the_flusher_and_one_that_fails_hurts_nobody(
    opened: Callable[..., SegmentJournal],
) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk)
    disk.hold()
    receipt = journal.append(entry(0))
    told: list[tuple[object, str]] = []

    def bad(_error: Fault | None) -> None:
        raise RuntimeError("a mistake of the caller's")

    receipt.add_done_callback(bad)
    receipt.add_done_callback(lambda error: told.append((error, threading.current_thread().name)))
    disk.go_on.set()
    receipt.wait(PATIENCE)
    journal.append(entry(1)).wait(PATIENCE)
    assert told == [(None, "audit-flusher")]
    receipt.add_done_callback(lambda error: told.append((error, "late")))
    assert told[-1] == (None, "late")


def test_an_event_loop_is_woken_once_for_many(opened: Callable[..., SegmentJournal]) -> None:
    journal = opened()

    async def main() -> int:
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(50)]
        wakes = 0

        def resolve() -> None:
            nonlocal wakes
            wakes += 1
            for future in futures:
                future.set_result(None)

        for number in range(50):
            journal.append(entry(number))
        journal.barrier().add_done_callback(lambda _error: loop.call_soon_threadsafe(resolve))
        await asyncio.wait_for(asyncio.gather(*futures), PATIENCE)
        return wakes

    assert asyncio.run(main()) == 1


def test_a_wait_that_takes_too_long_fails(opened: Callable[..., SegmentJournal]) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk)
    disk.hold()
    receipt = journal.append(entry(0))
    assert "does not answer" in refused(lambda: receipt.wait(0.01)).message
    disk.go_on.set()
    receipt.wait(PATIENCE)


def test_a_disk_that_hangs_fills_no_memory(
    opened: Callable[..., SegmentJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keystead.adapters.segments.PENDING_LIMIT", 10)
    disk = FailingDisk()
    journal = opened(disk=disk)
    disk.hold()
    journal.append(entry(0))
    assert disk.waiting.wait(PATIENCE)
    for number in range(10):
        journal.append(entry(number))
    assert "does not keep up" in refused(lambda: journal.append(entry(11))).message


def test_what_is_no_entry_harms_no_entry(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk)
    disk.hold()
    journal.append(entry(0))
    assert disk.waiting.wait(PATIENCE)
    nothing: Any = object()
    journal.append(entry(1))
    receipt = journal.append(nothing)
    journal.append(entry(2))
    disk.go_on.set()
    with pytest.raises(Fault) as caught:
        receipt.wait(PATIENCE)
    assert caught.value.code == "AuditEntryInvalid"
    journal.append(entry(3)).wait(PATIENCE)
    assert read(tmp_path / "audit") == [entry(n) for n in range(4)]


def test_written_asks_for_no_sync(opened: Callable[..., SegmentJournal]) -> None:
    synced: list[bool] = []

    class Watching(Disk):
        def write(self, fd: int, data: bytes, offset: int, synced_: bool) -> None:
            if offset:
                synced.append(synced_)
            super().write(fd, data, offset, synced_)

    opened(disk=Watching(), sync="written").append(entry(0)).wait(PATIENCE)
    opened(disk=Watching()).append(entry(1)).wait(PATIENCE)
    assert synced == [False, True]


def test_a_receipt_is_decided_once() -> None:
    receipt = GroupReceipt()
    receipt.settle(None)
    receipt.settle(Fault("Late", "too late"))
    receipt.wait(0)
    assert receipt.error is None


def test_files_are_for_their_owner_alone(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    opened().append(entry(0)).wait(PATIENCE)
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "audit").iterdir()} == {0o600}


def test_the_head_of_the_files_is_what_a_reader_finds(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    journal = opened()
    journal.append(entry(0)).wait(PATIENCE)
    assert verify_trail(tmp_path / "audit").writers[0].head == Head(1, journal._files.head.hash)
