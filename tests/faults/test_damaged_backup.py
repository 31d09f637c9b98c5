"""A backup that was cut short, changed or swapped: the restore says so, opens nothing, and a good copy works."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.faults.harness import check_machine
from tests.faults.machine import listens
from tests.faults.region import Region, System

pytestmark = pytest.mark.live

SEED = 7


@pytest.fixture(scope="module")
def other(region: Region, system: System) -> Path:
    """The file of another backup, of the same system under the same key."""
    made, job = region.begin_backup(system)
    region.done(job)
    return file_of(region, made)


def file_of(region: Region, backup: str) -> Path:
    return region.backups / f"{backup}.ksb"


def chance(what: str) -> random.Random:
    return random.Random(f"{SEED} {what}")


def cut(at: Callable[[int], int]) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, at(path.stat().st_size))


def flip(at: Callable[[int], int], bit: int = 0) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            place = at(path.stat().st_size)
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ (1 << bit)]))

    return damage


def swap_pieces(path: Path) -> None:
    """Two stretches of the middle change places."""
    content = bytearray(path.read_bytes())
    middle, size = len(content) // 2, 1 << 16
    content[middle : middle + size], content[-2 * size : -size] = (
        content[-2 * size : -size],
        content[middle : middle + size],
    )
    path.write_bytes(content)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "empty": cut(lambda _: 0),
    "cut-in-the-header": cut(lambda _: 40),
    "cut-anywhere": cut(lambda size: chance("cut").randrange(size)),
    "cut-before-the-last-byte": cut(lambda size: size - 1),
    "first-bit": flip(lambda _: 0),
    "bit-in-the-header": flip(lambda _: chance("header").randrange(10, 400), 3),
    "bit-anywhere": flip(lambda size: chance("bit").randrange(size), 5),
    "bit-near-the-end": flip(lambda size: size - chance("end").randrange(1, 4000), 7),
    "last-bit": flip(lambda size: size - 1),
    "pieces-swapped": swap_pieces,
    "more-at-the-end": append,
    "gone": Path.unlink,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged(region: Region, backup: str, key: str, what: str) -> None:
    path = file_of(region, backup)
    good = path.with_name("good")
    shutil.copy(path, good)
    try:
        DAMAGE[what](path)
        refused(region, backup, key)
    finally:
        good.replace(path)


def test_the_file_of_another_backup(region: Region, backup: str, other: Path, key: str) -> None:
    path = file_of(region, backup)
    good = path.with_name("good")
    path.rename(good)
    try:
        shutil.copy(other, path)
        refused(region, backup, key)
    finally:
        good.replace(path)


def refused(region: Region, backup: str, key: str) -> None:
    """The job fails and says why; the system never listened, and can be deleted without a trace."""
    copy = region.begin_restore(backup, key)
    job = region.wait_job(copy.job)
    assert job["state"] == "FAILED"
    assert job["step"] == "", "nothing but the first step was tried"
    assert job["error_code"] in ("Unreadable", "BackupMissing", "RestoreFailed"), job
    assert job["error"]
    shown = region.system(copy)
    assert shown["state"] == "FAILED"
    assert shown["reason_text"]
    assert not listens(copy.port)
    assert not region.servers(copy.id)
    home = region.data / copy.id.rpartition(".")[2]
    assert not (home / "PREPARED").exists()
    assert not list((home / "data").glob("*")), "no byte of it stays"
    region.delete(copy)
    region.check_gone(copy)


def test_a_good_copy_works(region: Region, system: System, backup: str, key: str) -> None:
    """After all that: the same file as it was."""
    copy = region.begin_restore(backup, key)
    region.done(copy.job)
    assert region.checksum(copy) == region.checksum(system)
    region.delete(copy)
    check_machine(region)
