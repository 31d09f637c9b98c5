"""Word of writing comes, of what is watched and nothing else, and its absence is no failure."""

import os
import sqlite3
from pathlib import Path

import pytest

from keystead.adapters import write_events
from keystead.adapters.write_events import WriteEvents, watch_segments, watch_state

PATIENCE = 20.0


def test_a_commit_to_the_state_is_told(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    connection = sqlite3.connect(state, isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    events = watch_state(state)
    assert events is not None
    assert not events.seen() and not events.wait(0)
    connection.execute("create table t (n)")
    assert events.wait(PATIENCE)
    assert not events.seen(), "told once"
    connection.execute("insert into t values (1)")
    assert events.seen()
    connection.close()
    events.close()


def test_what_else_is_written_beside_it_is_not(tmp_path: Path) -> None:
    events = watch_state(tmp_path / "state.db")
    assert events is not None
    (tmp_path / "audit.db-wal").write_text("x")
    assert not events.wait(PATIENCE), "something came, but not that"
    (tmp_path / "state.db-wal").write_text("x")
    assert events.wait(PATIENCE)
    events.close()


def test_every_file_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "one.seg").write_bytes(bytes(100))
    events = watch_segments(tmp_path)
    assert events is not None and not events.seen()
    with (tmp_path / "one.seg").open("r+b") as file:
        os.pwrite(file.fileno(), b"x", 10)
    assert events.seen() and not events.seen()
    (tmp_path / "two.spare").touch()
    assert events.seen()
    (tmp_path / "two.spare").rename(tmp_path / "two.seg")
    assert events.seen()
    events.close()


def test_more_events_than_one_reading_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_events, "_BUFFER", 300)
    events = WriteEvents(tmp_path, "last")
    for number in range(50):
        (tmp_path / f"file-{number}").touch()
    (tmp_path / "last").touch()
    assert events.seen() and not events.seen()
    events.close()


def test_where_there_are_none(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert watch_segments(tmp_path / "absent") is None
    assert len(os.listdir("/proc/self/fd")) == before
