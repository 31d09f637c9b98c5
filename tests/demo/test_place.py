"""The demonstration's directory: nobody else's is touched, and only its own processes are ended."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from demo.place import Place, Unusable

from demo import processes


@pytest.fixture
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keystead-demo-test-") as path:
        os.chmod(path, 0o711)
        yield Path(path)


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_directory_of_somebody_else_is_refused(base: Path) -> None:
    (base / "letters").mkdir()
    (base / "letters" / "to-mother").write_text("dear")
    with pytest.raises(Unusable, match="no demonstration's"):
        Place(base / "letters")
    assert (base / "letters" / "to-mother").exists()
    (base / "link").symlink_to(base / "letters")
    with pytest.raises(Unusable, match="cannot be used"):
        Place(base / "link")
    (base / "file").write_text("")
    with pytest.raises(Unusable, match="cannot be used"):
        Place(base / "file")


def test_one_at_a_time(base: Path) -> None:
    first = Place(base / "run")
    with pytest.raises(Unusable, match="another demonstration"):
        Place(base / "run")
    first.close()
    Place(base / "run").close()


@pytest.mark.skipif(os.geteuid() != 0, reason="without root database servers run as we do")
def test_a_directory_that_database_users_cannot_enter_is_refused(base: Path) -> None:
    base.chmod(0o700)
    with pytest.raises(Unusable, match="cannot be entered"):
        Place(base / "run")


def test_an_earlier_run_is_cleared(base: Path) -> None:
    place = Place(base / "run")
    place.lay_out()
    place.keep(admin="secret")
    assert stat.S_IMODE(place.credentials_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.data.stat().st_mode) == 0o711 and stat.S_IMODE(place.home.stat().st_mode) == 0o700
    (place.state / "run").mkdir(parents=True)
    memory = place.memory
    os.close(place._handle)  # as a killed run leaves it
    again, stopped = Place(base / "run"), []
    assert again.earlier()
    assert again.clear(stopped.append) == 0
    assert stopped == [place.state]
    assert not any(again.directory.iterdir()) and not memory.exists()
    again.lay_out()
    again.remove()
    again.close()
    assert not (base / "run").exists() and not again.memory.exists()


def test_only_programs_of_ours_in_the_directory_count(base: Path) -> None:
    def started(name: str, path: Path) -> "subprocess.Popen[bytes]":
        words = [name, "-c", "print(flush=True); import time; time.sleep(60)", f"--defaults-file={path}"]
        process = subprocess.Popen(words, executable=sys.executable, stdout=subprocess.PIPE)
        assert process.stdout and process.stdout.readline()
        return process

    ours = started("/usr/sbin/mariadbd", base / "run" / "my.cnf")
    others = [
        started("editor", base / "run" / "my.cnf"),
        started("/usr/sbin/mariadbd", base / "run2" / "my.cnf"),
        started("/usr/sbin/mariadbd", base / "my.cnf"),
    ]
    try:
        found = list(processes.started_in(base / "run"))
        assert [identity.pid for identity in found] == [ours.pid]
        assert processes.end(found) == 1
        assert ours.wait(5) and all(process.poll() is None for process in others)
    finally:
        for process in (ours, *others):
            process.kill()
            process.communicate()


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(bystander: "subprocess.Popen[bytes]") -> None:
    start = processes._start_of(bystander.pid)
    it = processes.Identity(bystander.pid, start, processes.boot())
    assert processes.end([replace(it, start=start - 1), replace(it, boot="another")]) == 0
    assert bystander.poll() is None
    assert processes.end([it]) == 1
    bystander.wait(5)
    assert processes.end([it]) == 0
