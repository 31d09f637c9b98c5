"""The journal: what it has taken is on disk when the receipt says so, through kill -9, a full disk and a dying one."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.disk import FailingDisk
from tests.fakes.entries import entry

from keystead.adapters.segment_files import Disk, list_segments, verify_trail
from keystead.adapters.segments import GroupReceipt, SegmentJournal, open_journal
from keystead.audit.model import Entry, Head
from keystead.audit.segment import open_segment, parse_line, scan
from keystead.audit.service import AuditLog
from keystead.core.errors import Fault

PATIENCE = 20.0


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SegmentJournal]]:
    """Journals in `tmp_path`, small, closed at the end."""
    journals: list[SegmentJournal] = []

    def open_one(**options: Any) -> SegmentJournal:
        settings = {"segment_bytes": 64 * 1024, "reserve_bytes": 32 * 1024, "probe_s": 0.01} | options
        journals.append(open_journal(settings.pop("directory", tmp_path / "audit"), "serve", "home", **settings))
        return journals[-1]

    yield open_one
    for journal in journals:
        if isinstance(disk := journal._files._disk, FailingDisk):
            disk.go_on.set()
        journal.close()


def read(directory: Path, writer: str = "serve-1") -> list[Entry]:
    """Every entry of a writer, as a reader sees it."""
    found = []
    for _number, path in list_segments(directory)[writer]:
        data = path.read_bytes()
        _header, after, begin = open_segment(data)
        found += [parse_line(data[begin + a : begin + b]) for a, b, _hash in scan(data[begin:], writer, after).lines]
    return found


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does by itself (the probe)."""
    tick = threading.Event()
    for _ in range(2000):
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError("it did not come to be")


def refused(call: Callable[[], object]) -> Fault:
    with pytest.raises(Fault) as caught:
        call()
    assert caught.value.code == "AuditUnavailable"
    return caught.value


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


# --- opening again


def test_the_chain_goes_on_in_the_next_process(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    for start in (0, 100, 200):
        journal = opened()
        for number in range(start, start + 100):
            journal.append(entry(number))
        journal.close()
        refused(lambda: journal.append(entry(0)))  # noqa: B023
    assert read(tmp_path / "audit") == [entry(number) for number in range(300)]
    assert verify_trail(tmp_path / "audit").intact


def test_two_processes_of_one_name_write_apart(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    one, two = opened(), opened()
    assert (one.writer, two.writer) == ("serve-1", "serve-2")
    one.append(entry(1)).wait(PATIENCE)
    two.append(entry(2)).wait(PATIENCE)
    one.close()
    assert opened().writer == "serve-1", "free again"
    assert verify_trail(tmp_path / "audit").entries == 2


@pytest.mark.parametrize("cut", [1, 40, 500])
def test_a_torn_end_is_cut_and_the_chain_goes_on(
    opened: Callable[..., SegmentJournal], tmp_path: Path, cut: int
) -> None:
    journal = opened()
    for number in range(3):
        journal.append(entry(number)).wait(PATIENCE)
    journal.close()
    path = tmp_path / "audit" / "serve-1.00000001.seg"
    data = path.read_bytes()
    written = len(data.rstrip(b"\0"))
    path.write_bytes(data[: written - cut] + bytes(cut) + data[written:])
    assert verify_trail(tmp_path / "audit").intact
    opened().append(entry(9)).wait(PATIENCE)
    assert read(tmp_path / "audit") == [entry(0), entry(1), entry(9)]
    assert verify_trail(tmp_path / "audit").writers[0].unfinished_bytes == 0


def test_nothing_of_a_torn_group_is_left_behind_what_is_written_next(
    opened: Callable[..., SegmentJournal], tmp_path: Path
) -> None:
    journal = opened()
    for number in range(40):
        journal.append(entry(number)).wait(PATIENCE)
    journal.close()
    path = tmp_path / "audit" / "serve-1.00000001.seg"
    data = path.read_bytes()
    path.write_bytes(data[:8192] + bytes(4096) + data[12288:])  # a page of the last group that never reached the disk
    journal = opened()
    journal.append(entry(99)).wait(PATIENCE)
    assert read(tmp_path / "audit")[-1] == entry(99)
    report = verify_trail(tmp_path / "audit")
    assert (report.intact, report.writers[0].unfinished_bytes) == (True, 0)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes().replace(b"Decrypt", b"Encrypt", 1)),
        lambda path: path.write_bytes(b"rubbish\n"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"region":"home"', b'"region":"away"')),
    ],
)
def test_a_changed_segment_is_not_written_to(
    opened: Callable[..., SegmentJournal], tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    journal = opened()
    for number in range(3):
        journal.append(entry(number))
    journal.close()
    path = tmp_path / "audit" / "serve-1.00000001.seg"
    harm(path)
    harmed = path.read_bytes()
    with pytest.raises(Fault) as caught:
        opened()
    assert caught.value.code == "AuditBroken"
    assert opened(skip_broken=True).writer == "serve-2"
    assert path.read_bytes() == harmed, "evidence"


def test_a_missing_segment_before_the_last_is_noticed(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    journal = opened(segment_bytes=8 * 1024)
    for number in range(50):
        journal.append(entry(number)).wait(PATIENCE)
    journal.close()
    paths = [path for _number, path in list_segments(tmp_path / "audit")["serve-1"]]
    assert len(paths) > 3
    paths[-2].unlink()
    with pytest.raises(Fault) as caught:
        opened()
    assert caught.value.code == "AuditBroken"
    assert not verify_trail(tmp_path / "audit").intact


def test_leftovers_of_a_process_that_died_while_rolling_are_no_hindrance(
    opened: Callable[..., SegmentJournal], tmp_path: Path
) -> None:
    journal = opened()
    journal.append(entry(0)).wait(PATIENCE)
    journal.close()
    directory = tmp_path / "audit"
    (directory / "serve-1.spare").write_bytes(b'{"format"' + bytes(90))
    (directory / "serve-1.reserve").write_bytes(b'{"format"' + bytes(90))
    opened().append(entry(1)).wait(PATIENCE)
    assert read(directory) == [entry(0), entry(1)]
    assert not (directory / "serve-1.reserve").read_bytes().strip(b"\0")


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from keystead.adapters.segments import open_journal
from tests.fakes.entries import entry
journal = open_journal(Path({directory!r}), "serve", "home", segment_bytes=65536)
number = int(sys.argv[1])
while True:
    receipts = [journal.append(entry(number + step)) for step in range(7)]
    receipts[-1].wait(20)
    number += 7
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    program = CHILD.format(directory=str(directory), root=str(Path(__file__).parents[2]))
    acknowledged = 0
    for _round in range(4):
        child = subprocess.Popen([sys.executable, "-c", program, str(acknowledged)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        goal = acknowledged + 400
        for line in child.stdout:
            acknowledged = int(line)
            if acknowledged > goal:
                child.send_signal(signal.SIGKILL)
        child.wait()
        ids = [one.id for one in read(directory)]
        assert set(ids) >= {entry(number).id for number in range(acknowledged)}
        report = verify_trail(directory)
        assert report.intact, report
        # What was written without being acknowledged counts too; the next round begins after it.
        acknowledged = max(int(one[-32:]) for one in ids) + 1


# --- bad days


def test_a_full_disk_refuses_and_keeps_its_reserve_for_taking_access_away(
    opened: Callable[..., SegmentJournal], tmp_path: Path
) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk)
    journal.append(entry(0)).wait(PATIENCE)
    disk.full = errno.ENOSPC
    number = 0
    with pytest.raises(Fault) as caught:
        while number < 1000:
            number += 1
            journal.append(entry(number)).wait(PATIENCE)
    assert caught.value.code == "AuditUnavailable"
    assert "no space" in caught.value.message
    assert journal.mode == "reserve"
    journal.append(entry(5000, operation="DisableKey"), True).wait(PATIENCE)
    journal.barrier().wait(PATIENCE)
    refused(lambda: journal.append(entry(6000)))
    found = read(tmp_path / "audit")
    assert found[-1].operation == "DisableKey"
    assert [one.id for one in found[:-1]] == [entry(n).id for n in range(number)], "what was taken was written"

    disk.full = 0
    until(lambda: journal.mode == "open")
    journal.append(entry(7000)).wait(PATIENCE)
    assert read(tmp_path / "audit")[-1] == entry(7000)
    assert (tmp_path / "audit" / "serve-1.reserve").exists()
    report = verify_trail(tmp_path / "audit")
    assert report.intact, report


def test_more_than_the_reserve_may_hold_waits_while_taking_access_away_goes_on(
    opened: Callable[..., SegmentJournal], tmp_path: Path
) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk, segment_bytes=8 * 1024)
    journal.append(entry(0)).wait(PATIENCE)
    journal._files._has_spare()
    (tmp_path / "audit" / "serve-1.spare").unlink(missing_ok=True)
    journal._files._spare_ready = False
    disk.full = errno.ENOSPC
    disk.hold()
    journal.append(entry(1))
    assert disk.waiting.wait(PATIENCE)
    many = journal.append(entry(2))
    for number in range(3, 60):
        journal.append(entry(number))
    urgent = journal.append(entry(99), True)
    disk.go_on.set()
    urgent.wait(PATIENCE)
    refused(lambda: many.wait(PATIENCE))
    refused(lambda: journal.barrier().wait(PATIENCE))
    journal.append(entry(100), True).wait(PATIENCE)
    disk.full = 0
    until(lambda: journal.mode == "open")
    journal.barrier().wait(PATIENCE)
    found = {one.id for one in read(tmp_path / "audit")}
    assert found == {entry(n).id for n in [*range(60), 99, 100]}
    assert verify_trail(tmp_path / "audit").intact


def test_a_reserve_that_is_used_up_refuses_everything(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk, segment_bytes=8 * 1024, reserve_bytes=8 * 1024)
    disk.full = errno.ENOSPC
    taken = 0
    with pytest.raises(Fault):
        for number in range(1000):
            journal.append(entry(number), True).wait(PATIENCE)
            taken += 1
    assert taken > 10
    until(lambda: journal.mode == "shut")
    refused(lambda: journal.append(entry(1), True))
    refused(lambda: journal.barrier().wait(PATIENCE))
    disk.full = 0
    until(lambda: journal.mode == "open")
    assert len(read(tmp_path / "audit")) == taken + 1, "what had been taken is written after all"
    assert verify_trail(tmp_path / "audit").intact


@pytest.mark.parametrize("partly", [0, 1, 300, 5000])
def test_a_failing_disk_fails_receipts_and_barriers_until_it_writes_again(
    opened: Callable[..., SegmentJournal], tmp_path: Path, partly: int
) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk)
    journal.append(entry(0)).wait(PATIENCE)
    disk.broken, disk.partly = errno.EIO, partly
    disk.hold()
    receipt = journal.append(entry(1))
    for number in range(2, 12):
        journal.append(entry(number))
    barrier = journal.barrier()
    told: list[Fault | None] = []
    barrier.add_done_callback(told.append)
    disk.go_on.set()
    refused(lambda: receipt.wait(PATIENCE))
    refused(lambda: barrier.wait(PATIENCE))
    assert [error.code for error in told if error] == ["AuditUnavailable"]
    until(lambda: journal.mode == "shut")
    refused(lambda: journal.append(entry(20)))
    refused(lambda: journal.append(entry(21), True))
    refused(lambda: journal.barrier().wait(PATIENCE))
    assert verify_trail(tmp_path / "audit").intact, "a partial write is no tampering"
    disk.broken = 0
    until(lambda: journal.mode == "open")
    journal.append(entry(30)).wait(PATIENCE)
    journal.barrier().wait(PATIENCE)
    assert read(tmp_path / "audit") == [entry(n) for n in [*range(12), 30]]
    assert verify_trail(tmp_path / "audit").intact


def test_space_that_runs_out_under_a_segment_leaves_no_rubbish_in_the_chain(
    opened: Callable[..., SegmentJournal], tmp_path: Path
) -> None:
    class Thin(FailingDisk):
        """Says that it is full when a segment's own space is written, as copy-on-write disks do; once."""

        def write(self, fd: int, data: bytes, offset: int, synced: bool) -> None:
            if self.partly and offset:
                count, self.partly = self.partly, 0
                Disk.write(self, fd, data[:count], offset, False)
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(fd, data, offset, synced)

    disk = Thin()
    journal = opened(disk=disk)
    journal.append(entry(0)).wait(PATIENCE)
    disk.partly, disk.full = 900, errno.ENOSPC
    journal.append(entry(1)).wait(PATIENCE)
    assert journal.mode == "reserve"
    assert read(tmp_path / "audit") == [entry(0), entry(1)]
    assert verify_trail(tmp_path / "audit").intact


def test_a_soiled_end_that_cannot_be_cut_is_not_left_behind(
    opened: Callable[..., SegmentJournal], tmp_path: Path
) -> None:
    class Stuck(FailingDisk):
        stuck = True

        def write(self, fd: int, data: bytes, offset: int, synced: bool) -> None:
            if offset == 0:  # the header of the reserve would be written
                return Disk.write(self, fd, data, offset, synced)
            return super().write(fd, data, offset, synced)

        def truncate(self, fd: int, size: int) -> None:
            if self.stuck:
                raise OSError(errno.EIO, "Input/output error")
            super().truncate(fd, size)

    disk = Stuck()
    journal = opened(disk=disk)
    journal.append(entry(0)).wait(PATIENCE)
    disk.broken, disk.partly, disk.full = errno.ENOSPC, 5000, errno.ENOSPC
    refused(lambda: journal.append(entry(1)).wait(PATIENCE))
    until(lambda: journal.mode == "shut")
    assert len(list_segments(tmp_path / "audit")["serve-1"]) == 1, "the chain went on behind an end that may be rubbish"
    disk.stuck, disk.broken, disk.full = False, 0, 0
    until(lambda: journal.mode == "open")
    assert read(tmp_path / "audit") == [entry(0), entry(1)]
    assert verify_trail(tmp_path / "audit").intact


def test_more_than_one_write_takes(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    disk = FailingDisk()
    journal = opened(disk=disk, segment_bytes=4 * 1024 * 1024)
    disk.hold()
    journal.append(entry(0))
    assert disk.waiting.wait(PATIENCE)
    for number in range(1, 2500):
        journal.append(entry(number, reason="é" * 1000 if number > 1500 else ""))
    disk.go_on.set()
    journal.barrier().wait(PATIENCE)
    assert [one.id for one in read(tmp_path / "audit")] == [entry(number).id for number in range(2500)]


def test_opening_on_a_full_disk(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    disk = FailingDisk()
    disk.full = errno.ENOSPC
    refused(lambda: opened(disk=disk))
    disk.full = 0
    journal = opened(disk=disk)
    journal.append(entry(0)).wait(PATIENCE)
    journal.close()
    (tmp_path / "audit" / "serve-1.reserve").unlink()
    disk.full = errno.ENOSPC
    journal = opened(disk=disk)
    assert journal.mode == "reserve", "nothing is kept for taking access away, so nothing else may use what is left"
    refused(lambda: journal.append(entry(1)))
    journal.append(entry(2), True).wait(PATIENCE)


def test_a_small_real_disk(opened: Callable[..., SegmentJournal], tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting needs root")
    try:
        journal = opened(directory=small / "audit", disk=Disk(leave=32 * 1024))
        number = 0
        with pytest.raises(Fault) as caught:
            while number < 2000:
                journal.append(entry(number)).wait(PATIENCE)
                number += 1
        assert caught.value.code == "AuditUnavailable"
        assert number > 100
        journal.append(entry(9000), True).wait(PATIENCE)
        refused(lambda: journal.append(entry(9001)))
        assert os.statvfs(small).f_bavail >= 8, "what is left to others was not touched"
        found = read(small / "audit")
        assert [one.id for one in found] == [entry(n).id for n in [*range(len(found) - 1), 9000]]
        subprocess.run(["mount", "-o", "remount,size=4m", str(small)], check=True)
        until(lambda: journal.mode == "open")
        journal.append(entry(9002)).wait(PATIENCE)
        assert verify_trail(small / "audit").intact
        journal.close()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


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
