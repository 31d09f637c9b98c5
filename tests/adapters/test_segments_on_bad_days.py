"""A disk that is full, fails or hangs: nothing acknowledged is lost, and taking access away still works."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.adapters.journals import PATIENCE, read, refused, until
from tests.fakes.disk import FailingDisk
from tests.fakes.entries import entry

from keystead.adapters.segment_files import Disk, list_segments, verify_trail
from keystead.adapters.segments import SegmentJournal
from keystead.core.errors import Fault


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
