"""A journal that is opened again: after a clean end, a torn one, a kill -9, or by two at once."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.adapters.journals import PATIENCE, read, refused
from tests.fakes.entries import entry

from keystead.adapters.segment_files import list_segments, verify_trail
from keystead.adapters.segments import SegmentJournal
from keystead.core.errors import Fault


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
