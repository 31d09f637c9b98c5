"""Backups as files: whole and durable or not there, on a disk that is full, killed, or written by two."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.small_disk import fill, small_disk

from keystead.adapters.backup_files import FileBackups, _claim
from keystead.core.errors import Refusal, Unavailable
from keystead.core.ids import new_id

NAME = new_id("mysqlbackup", "home")
OTHER = new_id("mysqlbackup", "home")


def read(files: FileBackups, name: str = NAME) -> bytes:
    return b"".join(files.read(name))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    files = FileBackups(tmp_path / "backups")
    assert files.names() == ()
    assert files.write(NAME, iter([b"one", b"", b"two"])) == 6
    assert read(files) == b"onetwo"
    assert files.names() == [NAME]
    assert (tmp_path / "backups").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "backups" / f"{NAME}.ksb").stat().st_mode & 0o777 == 0o600


def test_large_backups_come_in_pieces(tmp_path: Path) -> None:
    files, piece = FileBackups(tmp_path), os.urandom(1 << 20)
    files.write(NAME, (piece for _ in range(3)))
    assert [len(part) for part in files.read(NAME)] == [1 << 20] * 3


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as caught:
        read(FileBackups(tmp_path))
    assert (caught.value.code, caught.value.kind) == ("BackupMissing", "not_found")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "..", "a\x00b", "A", "x" * 129])
def test_a_name_is_an_id_and_no_path(tmp_path: Path, name: str) -> None:
    files = FileBackups(tmp_path / "backups")
    for run in (lambda: files.write(name, iter([b"x"])), lambda: read(files, name), lambda: files.delete(name)):
        with pytest.raises(Refusal):
            run()
    assert list(tmp_path.rglob("*.ksb")) == []


class Broken(Exception):
    """The stream broke off."""


def broken(*chunks: bytes) -> Iterator[bytes]:
    yield from chunks
    raise Broken


def test_a_stream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    files = FileBackups(tmp_path)
    with pytest.raises(Broken):
        files.write(NAME, broken(bytes(1 << 20), b"more"))
    assert list(tmp_path.iterdir()) == []


def test_a_backup_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Whoever looks at any time sees the old one, and then the new one."""
    files, seen = FileBackups(tmp_path), []
    files.write(NAME, iter([b"old"]))

    def looked() -> Iterator[bytes]:
        for part in (b"n", b"e", b"w"):
            seen.append((list(files.names()), read(files)))
            yield part

    files.write(NAME, looked())
    assert seen == [([NAME], b"old")] * 3
    assert read(files) == b"new"


def test_one_that_breaks_off_leaves_the_one_before(tmp_path: Path) -> None:
    files = FileBackups(tmp_path)
    files.write(NAME, iter([b"old"]))
    with pytest.raises(Broken):
        files.write(NAME, broken(b"new"))
    assert read(files) == b"old"


def test_what_a_killed_process_left_is_never_shown_and_is_used_again(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.partial").write_bytes(b"x" * 100)
    files = FileBackups(tmp_path)
    assert files.names() == []
    files.write(NAME, iter([b"whole"]))
    assert read(files) == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == [f"{NAME}.ksb"]


def test_deleting_leaves_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    files = FileBackups(tmp_path)
    files.write(NAME, iter([b"x"]))
    files.write(OTHER, iter([b"y"]))
    (tmp_path / f"{NAME}.partial").write_bytes(b"half")
    for _ in range(2):
        files.delete(NAME)
    assert files.names() == [OTHER]
    assert [path.name for path in tmp_path.iterdir()] == [f"{OTHER}.ksb"]


def test_two_writers_of_one_backup_do_not_mix(tmp_path: Path) -> None:
    """A job that lost its lease may still be writing."""
    files, writing, go_on = FileBackups(tmp_path), threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"first "
        writing.set()
        assert go_on.wait(10)
        yield b"writer"

    thread = threading.Thread(target=lambda: files.write(NAME, slowly()))
    thread.start()
    assert writing.wait(10)
    with pytest.raises(Unavailable) as caught:
        files.write(NAME, iter([b"second"]))
    assert caught.value.code == "BackupBusy"
    files.write(OTHER, iter([b"not in the way"]))
    go_on.set()
    thread.join(10)
    assert read(files) == b"first writer"


def test_whoever_opened_it_as_another_finished_does_not_cut_the_whole_one(tmp_path: Path) -> None:
    """The second opens the file, the first renames it and lets go of its lock, the second gets the lock."""
    files = FileBackups(tmp_path)
    partial = tmp_path / f"{NAME}.partial"
    partial.write_bytes(b"whole")
    descriptor = os.open(partial, os.O_WRONLY)
    partial.replace(tmp_path / f"{NAME}.ksb")
    try:
        with pytest.raises(Unavailable):
            _claim(descriptor, partial)
    finally:
        os.close(descriptor)
    assert read(files) == b"whole"


def test_a_full_disk_is_an_outage_that_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        files = FileBackups(disk / "backups")
        files.write(OTHER, iter([b"kept"]))
        with pytest.raises(Unavailable) as caught:
            files.write(NAME, (os.urandom(1 << 16) for _ in range(100)))
        assert caught.value.code == "BackupStoreFull"
        assert files.names() == [OTHER]
        assert list((disk / "backups").iterdir()) == [disk / "backups" / f"{OTHER}.ksb"]
        files.write(NAME, iter([b"fits"]))
        assert read(files) == b"fits"


def test_a_disk_without_room_for_a_directory_is_an_outage(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        fill(disk)
        with pytest.raises(Unavailable):
            FileBackups(disk / "backups").write(NAME, iter([b"x" * 5000]))


def test_a_place_that_is_no_directory_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable) as caught:
        FileBackups(tmp_path / "file").write(NAME, iter([b"x"]))
    assert caught.value.code == "BackupStoreUnavailable"
