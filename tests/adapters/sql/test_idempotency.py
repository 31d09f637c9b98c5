"""Notes of creating requests: the first of a key goes on, the others get its answer, for a day."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from keystead.adapters.sql import schema
from keystead.adapters.sql.engine import sqlite_engine
from keystead.adapters.sql.heads import SqlHeads
from keystead.adapters.sql.idempotency import SqlIdempotency
from keystead.audit.model import Head
from keystead.core.clock import ManualClock

DAY = timedelta(days=1)
WHO = ("tenancy", "principal", "key")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    engine = sqlite_engine(tmp_path / "state.db")
    schema.metadata.create_all(engine)
    return tmp_path / "state.db"


def test_the_first_goes_on_and_the_others_get_its_answer(path: Path) -> None:
    notes = SqlIdempotency(sqlite_engine(path), ManualClock(), DAY)
    assert notes.begin(*WHO, b"hash") is None
    assert notes.begin(*WHO, b"hash") == (b"hash", 0, b"", b"")
    notes.finish(*WHO, 201, b"made", b"[]")
    assert notes.begin(*WHO, b"another") == (b"hash", 201, b"made", b"[]")


@pytest.mark.parametrize("part", range(3))
def test_another_tenancy_principal_or_key_is_another_request(path: Path, part: int) -> None:
    notes = SqlIdempotency(sqlite_engine(path), ManualClock(), DAY)
    notes.begin(*WHO, b"hash")
    other = [*WHO]
    other[part] = "other"
    assert notes.begin(*other, b"hash") is None


def test_what_came_to_nothing_may_be_tried_again(path: Path) -> None:
    notes = SqlIdempotency(sqlite_engine(path), ManualClock(), DAY)
    notes.begin(*WHO, b"hash")
    notes.forget(*WHO)
    assert notes.begin(*WHO, b"hash") is None


def test_after_a_day_it_is_forgotten(path: Path) -> None:
    clock = ManualClock()
    notes = SqlIdempotency(sqlite_engine(path), clock, DAY)
    notes.begin(*WHO, b"hash")
    notes.finish(*WHO, 201, b"made", b"[]")
    clock.advance(DAY.total_seconds())
    assert notes.begin(*WHO, b"hash") == (b"hash", 201, b"made", b"[]")
    clock.advance(1)
    assert notes.begin(*WHO, b"hash") is None


def test_of_many_at_once_one_goes_on(path: Path) -> None:
    first: list[bool] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        notes = SqlIdempotency(sqlite_engine(path), ManualClock(), DAY)
        barrier.wait(10)
        first.append(notes.begin(*WHO, b"hash") is None)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(first) == [False] * 5 + [True]


def test_heads_are_noted_as_they_go_on(path: Path) -> None:
    heads = SqlHeads(sqlite_engine(path))
    assert heads.noted() == {}
    heads.note({"serve-1": Head(3, "aa"), "work-1": Head(1, "bb")})
    heads.note({"serve-1": Head(4, "cc")})
    assert SqlHeads(sqlite_engine(path)).noted() == {"serve-1": Head(4, "cc"), "work-1": Head(1, "bb")}
    heads.note({})
    heads.forget()
    assert heads.noted() == {}
