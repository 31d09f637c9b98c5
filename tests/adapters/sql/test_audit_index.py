"""The index finds what the filters match, follows writers without disturbing them, and notices what was changed."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.entries import NOON, entry

from keystead.adapters.segment_files import hash_at, list_segments
from keystead.adapters.segments import SegmentJournal, open_journal
from keystead.adapters.sql import audit_index
from keystead.adapters.sql.audit_index import AuditIndex
from keystead.audit.model import Entry, Head
from keystead.audit.query import EntryFilter, matches
from keystead.audit.rollback import check_rollback
from keystead.core.errors import Refusal, Unavailable
from keystead.core.page import PageRequest

TENANCY = entry().tenancy
ALL = PageRequest(1000)
NOBODY = EntryFilter()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def journal(directory: Path) -> Iterator[SegmentJournal]:
    made = small_journal(directory)
    yield made
    made.close()


@pytest.fixture
def index(tmp_path: Path, directory: Path) -> Iterator[AuditIndex]:
    directory.mkdir(exist_ok=True)
    made = AuditIndex(tmp_path / "audit.db", directory)
    yield made
    made.close()


def small_journal(directory: Path) -> SegmentJournal:
    return open_journal(directory, "serve", "home", segment_bytes=8 * 1024, reserve_bytes=4096)


def write(journal: SegmentJournal, *entries: Entry) -> None:
    for one in entries:
        journal.append(one)
    journal.barrier().wait(20)


def test_what_was_written_is_found_newest_first(journal: SegmentJournal, index: AuditIndex) -> None:
    write(journal, *(entry(number) for number in range(30)))
    assert index.integrate().entries == 30
    assert list(index.query(TENANCY, NOBODY, ALL).items) == [entry(number) for number in reversed(range(30))]
    assert index.integrate().entries == 0
    write(journal, entry(30, detail={"from": "v1"}, reason="é"))
    assert index.integrate().entries == 1
    assert index.query(TENANCY, NOBODY, PageRequest(1)).items == [entry(30, detail={"from": "v1"}, reason="é")]


def test_no_query_crosses_tenancies(journal: SegmentJournal, index: AuditIndex) -> None:
    write(journal, entry(1), entry(2, tenancy="two"), entry(3, tenancy=""))
    index.integrate()
    assert index.query(TENANCY, NOBODY, ALL).items == [entry(1)]
    assert index.query("two", NOBODY, ALL).items == [entry(2, tenancy="two")]
    assert index.query("", NOBODY, ALL).items == [entry(3, tenancy="")]
    assert not index.query("three", NOBODY, ALL).items


def test_pages_hold_everything_once_also_of_one_moment(journal: SegmentJournal, index: AuditIndex) -> None:
    wanted = [entry(number, at=NOON + timedelta(seconds=number // 10)) for number in range(45)]
    write(journal, *wanted)
    index.integrate()
    found: list[Entry] = []
    cursor = None
    while True:
        page = index.query(TENANCY, NOBODY, PageRequest.of(7, cursor))
        found += page.items
        if page.next is None:
            break
        cursor = page.next
    assert found == list(reversed(wanted))


@pytest.mark.parametrize("cursor", ["x", "1", "1.", "1.x", "a.b"])
def test_a_foreign_cursor_is_refused(journal: SegmentJournal, index: AuditIndex, cursor: str) -> None:
    write(journal, entry(1))
    index.integrate()
    with pytest.raises(Refusal):
        index.query(TENANCY, NOBODY, PageRequest(5, cursor))


words = st.sampled_from(["", "alice", "bob", "keys", "Decrypt"])
moments = st.integers(0, 5).map(lambda second: NOON + timedelta(seconds=second))
some_entries = st.builds(
    lambda number, at, **rest: entry(number, at=at, **rest),
    st.integers(0, 10**6),
    moments,
    tenancy=st.sampled_from(["one", "two"]),
    principal_id=words,
    principal_name=words,
    action=words,
    operation=words,
    resource_id=words,
    resource_name=words,
    resource_type=words,
    outcome=st.sampled_from(["allowed", "refused"]),
)
filters = st.builds(
    EntryFilter,
    principal=words,
    action=words,
    resource=words,
    outcome=st.sampled_from(["", "allowed", "refused"]),
    since=st.none() | moments,
    until=st.none() | moments,
)


@given(st.lists(some_entries, max_size=25), st.lists(filters, min_size=1, max_size=8))
def test_the_index_finds_what_the_pure_filter_matches(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry], wanted: list[EntryFilter]
) -> None:
    place = tmp_path_factory.mktemp("index")
    journal = small_journal(place / "audit")
    write(journal, *entries)
    journal.close()
    index = AuditIndex(place / "audit.db", place / "audit")
    index.integrate()
    for one in wanted:
        for tenancy in ("one", "two"):
            expected = [item for item in entries if item.tenancy == tenancy and matches(one, item)]
            found = index.query(tenancy, one, ALL).items
            assert sorted(found, key=repr) == sorted(expected, key=repr)
            assert [item.at for item in found] == sorted((item.at for item in expected), reverse=True)
    index.close()


def test_copies_of_a_state_changes_entry_count_once(journal: SegmentJournal, index: AuditIndex) -> None:
    write(journal, entry(1, generation=7), entry(2, generation=8), entry(1, generation=7), entry(3))
    index.integrate()
    write(journal, entry(2, generation=8))
    assert index.integrate().entries == 0
    assert len(index.query(TENANCY, NOBODY, ALL).items) == 3
    assert index.highest_generation() == 8
    assert index.known([entry(1).id, entry(2).id, entry(3).id, "other"]) == {entry(1).id, entry(2).id}
    assert index.known([]) == set()


def test_writers_and_the_index_at_the_same_time(directory: Path, tmp_path: Path, index: AuditIndex) -> None:
    journals = [small_journal(directory) for _ in range(3)]
    done = threading.Event()

    def act(journal: SegmentJournal, start: int) -> None:
        for number in range(start, start + 300):
            journal.append(entry(number)).wait(20)

    threads = [threading.Thread(target=act, args=(journal, n * 1000)) for n, journal in enumerate(journals)]
    follower = AuditIndex(tmp_path / "audit.db", directory)
    problems: list[Any] = []

    def follow() -> None:
        while not done.is_set():
            problems.extend(follower.integrate().problems)

    follow_thread = threading.Thread(target=follow)
    follow_thread.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    follow_thread.join()
    follower.integrate()
    assert problems == []
    assert len(index.query(TENANCY, NOBODY, ALL).items) == 900
    assert {writer: head.sequence for writer, head in index.heads().items()} == dict.fromkeys(
        ("serve-1", "serve-2", "serve-3"), 300
    )
    assert index.verify().intact
    for journal in journals:
        journal.close()
    follower.close()


def test_a_lost_index_is_made_again(
    journal: SegmentJournal, index: AuditIndex, tmp_path: Path, directory: Path
) -> None:
    write(journal, *(entry(number, generation=number) for number in range(40)))
    index.integrate()
    again = AuditIndex(tmp_path / "again.db", directory)
    assert again.integrate().entries == 40
    assert again.heads() == index.heads()
    assert again.highest_generation() == index.highest_generation() == 39
    assert again.query(TENANCY, NOBODY, ALL).items == index.query(TENANCY, NOBODY, ALL).items
    again.close()


def test_pieces_smaller_than_a_segment(
    journal: SegmentJournal, index: AuditIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_index, "_GLANCES", (1000,))
    monkeypatch.setattr(audit_index, "PIECE_BYTES", 3000)
    write(journal, *(entry(number) for number in range(60)))
    assert index.integrate().entries == 60


def test_an_unfinished_line_waits(journal: SegmentJournal, index: AuditIndex, directory: Path) -> None:
    write(journal, entry(1), entry(2))
    path = directory / "serve-1.00000001.seg"
    whole = path.read_bytes()
    written = len(whole.rstrip(b"\0"))
    path.write_bytes(whole[: written - 30] + bytes(30) + whole[written:])
    assert index.integrate() == audit_index.Integrated(1, {})
    path.write_bytes(whole)
    assert index.integrate() == audit_index.Integrated(1, {})


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda paths: paths[1].write_bytes(paths[1].read_bytes().replace(b"Decrypt", b"Encrypt", 1)), "chain breaks"),
        (lambda paths: paths[1].unlink(), "segment 2 is missing"),
        (lambda paths: paths[0].unlink(), "segment 1 is missing"),
        (lambda paths: paths[1].write_bytes(b"rubbish\n"), "segment 2: the first line is no header"),
        (lambda paths: paths[1].write_bytes(paths[2].read_bytes()), "segment 2 is missing"),
    ],
)
def test_a_changed_chain_is_reported_and_not_followed_but_others_are(
    journal: SegmentJournal, index: AuditIndex, directory: Path, harm: Callable[[list[Path]], None], why: str
) -> None:
    for number in range(40):
        write(journal, entry(number))
    paths = [path for _number, path in list_segments(directory)["serve-1"]]
    assert len(paths) > 3
    saved = {path: path.read_bytes() for path in paths}
    harm(paths)
    other = small_journal(directory)
    write(other, entry(100))
    result = index.integrate()
    assert why in result.problems["serve-1"]
    assert list(index.problems()) == ["serve-1"]
    assert result.entries < 40
    assert entry(100) in index.query(TENANCY, NOBODY, ALL).items
    for path, data in saved.items():
        path.write_bytes(data)
    assert index.integrate().problems == {}, "mended"
    assert len(index.query(TENANCY, NOBODY, ALL).items) == 41
    other.close()


def test_a_segment_of_another_history_is_not_followed(
    journal: SegmentJournal, index: AuditIndex, directory: Path, tmp_path: Path
) -> None:
    other = small_journal(tmp_path / "other")
    for number in range(20):
        write(journal, entry(number))
        write(other, entry(number, reason="forged"))
    other.close()
    foreign, own = (list_segments(place)["serve-1"][1][1] for place in (tmp_path / "other", directory))
    own.write_bytes(foreign.read_bytes())
    assert index.integrate().problems == {"serve-1": "segment 2 does not continue the one before it"}
    assert all(not one.reason for one in index.query(TENANCY, NOBODY, ALL).items)


def test_an_end_cut_off_after_it_was_indexed_is_noticed(
    journal: SegmentJournal, index: AuditIndex, directory: Path
) -> None:
    write(journal, entry(1), entry(2))
    index.integrate()
    path = directory / "serve-1.00000001.seg"
    data = path.read_bytes()
    second = data.index(b'{"entry"', data.index(b'{"entry"') + 1)
    path.write_bytes(data[:second] + bytes(len(data) - second))
    assert "missing from the end" in index.verify().writers[0].problems[0]
    with pytest.raises(Unavailable) as caught:
        index.query(TENANCY, NOBODY, ALL)
    assert caught.value.code == "AuditChanged"
    path.write_bytes(data[:second])
    assert "cut off" in index.integrate().problems["serve-1"]


def test_a_line_changed_after_it_was_indexed_is_not_shown(
    journal: SegmentJournal, index: AuditIndex, directory: Path
) -> None:
    write(journal, entry(1))
    index.integrate()
    path = directory / "serve-1.00000001.seg"
    path.write_bytes(path.read_bytes().replace(b"finance", b"payroll"))
    with pytest.raises(Unavailable):
        index.query(TENANCY, NOBODY, ALL)


def test_a_writer_whose_segments_are_all_gone_is_noticed(
    journal: SegmentJournal, index: AuditIndex, directory: Path
) -> None:
    write(journal, entry(1))
    index.integrate()
    (directory / "serve-1.00000001.seg").unlink()
    assert index.integrate().problems == {"serve-1": "segment 1 is missing"}
    assert not index.verify().intact


def test_heads_are_of_entries_and_found_in_the_segments(
    journal: SegmentJournal, index: AuditIndex, directory: Path
) -> None:
    heads = []
    for number in range(25):
        write(journal, entry(number, generation=number))
        index.integrate()
        heads.append(index.heads()["serve-1"])
    assert len(list_segments(directory)["serve-1"]) > 2
    for head in heads:
        assert hash_at(directory, "serve-1", head.sequence) == head.hash
        assert check_rollback(24, {"serve-1": head}, index.view()) is None
    assert hash_at(directory, "serve-1", 26) is None
    assert hash_at(directory, "serve-9", 1) is None
    assert check_rollback(23, {}, index.view()) is not None
    assert check_rollback(24, {"serve-1": Head(3, heads[3].hash)}, index.view()) is not None


def test_a_file_that_is_no_database_is_an_outage(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(Unavailable):
        AuditIndex(tmp_path / "bad.db", directory)


def test_an_index_that_cannot_write_goes_on_later(
    journal: SegmentJournal, index: AuditIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(journal, entry(1))
    index._connection.execute("pragma busy_timeout = 10")
    other = sqlite3.connect(tmp_path / "audit.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(Unavailable):
        index.integrate()
    other.execute("rollback")
    other.close()
    assert index.integrate().entries == 1
    assert index.query(TENANCY, NOBODY, ALL).items == [entry(1)]


def test_calls_for_keys_are_counted_once_by_day(journal: SegmentJournal, index: AuditIndex) -> None:
    key: dict[str, Any] = {"resource_type": "keys", "resource_id": "k", "operation": "Encrypt", "outcome": "allowed"}
    days = [NOON + timedelta(days=number // 10) for number in range(30)]
    write(journal, *(entry(number, at=at, **key) for number, at in enumerate(days)))
    write(journal, entry(90, at=NOON, **key | {"resource_type": "vaults"}))
    write(journal, *(entry(91, at=NOON, generation=7, **key | {"operation": "RotateKey"}) for _ in range(3)))
    index.integrate()
    index.integrate()
    found = {one.operation: one for one in index.calls(TENANCY, "k", NOON)}
    assert (found["Encrypt"].calls, found["RotateKey"].calls) == (30, 1)
    midnight = NOON.replace(hour=0, minute=0, second=0, microsecond=0)
    assert (found["Encrypt"].first_at, found["Encrypt"].last_at) == (midnight, midnight + timedelta(days=2))
    assert [one.calls for one in index.calls(TENANCY, "k", NOON + timedelta(days=1))] == [20]
    assert index.calls("two", "k", NOON) == [] and index.calls(TENANCY, "never seen", NOON) == []
    write(journal, entry(92, at=NOON, generation=7, **key | {"operation": "RotateKey"}), entry(93, at=NOON, **key))
    index.integrate()
    assert {one.operation: one.calls for one in index.calls(TENANCY, "k", NOON)}["Encrypt"] == 31


def test_a_file_of_another_version_is_made_again(tmp_path: Path, directory: Path, journal: SegmentJournal) -> None:
    key: dict[str, Any] = {"resource_type": "keys", "resource_id": "k"}
    write(journal, *(entry(number, **key) for number in range(5)))
    made = AuditIndex(tmp_path / "old.db", directory)
    made.integrate()
    made.close()
    with sqlite3.connect(tmp_path / "old.db") as old:
        old.execute("drop table calls")
        old.execute("pragma user_version=0")
    again = AuditIndex(tmp_path / "old.db", directory)
    assert again.heads() == {} and again.integrate().entries == 5
    assert sum(one.calls for one in again.calls(TENANCY, "k", NOON)) == 5
    again.close()
