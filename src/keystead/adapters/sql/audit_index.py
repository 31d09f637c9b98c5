"""The index of the audit trail: found by who, what, on what, outcome and time. A file of its own, made from segments.

`integrate` follows every writer's segments from where it left off, checks the chain as it goes, and inserts a row per
entry; writers never wait for it. The segments remain the record: a row holds numbers to search by and the place of the
line with its hash, and a query reads the entries themselves from there. Deleting the file loses nothing: it is made
again.

Calls for keys are counted besides, per day, as their entries come in.

Invariants: an entry is indexed only when its line is durable and chained; entries of state changes (generation above 0)
are indexed once, however often they were copied; no query crosses tenancies, or shows a line that is not the one that
was indexed; a broken chain is not followed further and shows up in `Integrated.problems` and `problems()` until it is
mended.
"""

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from keystead.adapters.segment_files import hash_at, list_segments, segment_path, verify_trail
from keystead.adapters.sql.audit_calls import CALLS_SCHEMA, COUNTED, add_calls, counted_as, read_calls
from keystead.adapters.sql.audit_terms import Terms, decoder, find_term
from keystead.audit.model import Entry, Head
from keystead.audit.query import EntryFilter
from keystead.audit.rollback import AuditView
from keystead.audit.segment import GENESIS, LINE_LIMIT, Broken, Scan, open_segment, parse_line, scan
from keystead.audit.verify import TrailReport
from keystead.core.errors import Refusal, Unavailable
from keystead.core.page import Page, PageRequest, cut
from keystead.vault.insight.usage import Use

BUSY_MS = 10_000
PIECE_BYTES = 4 * 1024 * 1024
"""Of one segment, read and inserted in one transaction."""
_GLANCES = (4 * 1024, 256 * 1024)
_TERMS_LIMIT = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_SCHEMA = """
create table if not exists terms (id integer primary key, text text not null unique);
create table if not exists writers (
    writer text primary key, number integer not null, end integer not null,
    sequence integer not null, chain text not null, last_hash text not null, problem text not null
) without rowid;
create table if not exists marks (name text primary key, value integer not null) without rowid;
create table if not exists entries (
    id integer primary key, tenancy integer not null, at integer not null,
    principal integer not null, principal_name integer not null, action integer not null, operation integer not null,
    resource integer not null, resource_name integer not null, resource_type integer not null,
    outcome integer not null, writer integer not null, number integer not null, start integer not null,
    length integer not null, hash blob not null, copied text
);
create index if not exists entries_by_time on entries (tenancy, at, id);
create unique index if not exists entries_copied on entries (copied) where copied is not null;
"""

VERSION = 2
"""Of the tables. A file of another is made again from the segments."""
_TABLES = ("terms", "writers", "marks", "entries", "calls")
_INSERT = "insert or ignore into entries values (null,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


@dataclass(frozen=True, slots=True)
class Integrated:
    """What one pass did: new entries, and the problems of writers whose chain cannot be followed."""

    entries: int
    problems: Mapping[str, str]


@dataclass(slots=True)
class _Place:
    """How far one writer was followed. `chain`: the hash that the next line continues; `last`: of the last entry."""

    writer: str
    number: int = 0
    end: int = 0
    sequence: int = 0
    chain: str = GENESIS
    last: str = GENESIS
    problem: str = ""

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.chain)


class AuditIndex:
    """The index file at `path` over the segments in `directory`. Safe from every thread; one process integrates."""

    def __init__(self, path: Path, directory: Path) -> None:
        """Open, and make it when missing. Raises: Unavailable."""
        self._path = path
        self._directory = directory
        self._lock = threading.Lock()
        with _translated():
            if not path.exists():
                path.touch(mode=0o600)
            self._connection = sqlite3.connect(path, BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
            # NORMAL: what a power failure takes from the index is read from the segments again.
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_MS}"):
                self._connection.execute(f"pragma {pragma}")
            self._prepare()
        self._terms = Terms(self._connection)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        """The tables, empty where they were of another version. Other processes may do the same at the same time."""
        self._connection.execute("begin immediate")
        try:
            (version,) = self._connection.execute("pragma user_version").fetchone()
            if version != VERSION:
                for table in _TABLES:
                    self._connection.execute(f"drop table if exists {table}")
                for statement in filter(str.strip, f"{_SCHEMA}{CALLS_SCHEMA}".split(";")):
                    self._connection.execute(statement)
                self._connection.execute(f"pragma user_version={VERSION}")
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")

    def integrate(self) -> Integrated:
        """Index everything new.

        Raises:
            Unavailable: the segments or the index cannot be read or written; the next call goes on.
        """
        with self._lock, _translated():
            places = {place.writer: place for place in self._places()}
            segments = list_segments(self._directory)
            count = 0
            for writer in sorted(segments.keys() | places.keys()):
                place = places.get(writer) or _Place(writer)
                count += self._follow(place, {number for number, _path in segments.get(writer, ())})
            return Integrated(count, {place.writer: place.problem for place in self._places() if place.problem})

    def query(self, tenancy: str, wanted: EntryFilter, page: PageRequest) -> Page[Entry]:
        """The entries of `tenancy` that are asked for, newest first.

        Raises:
            Refusal: the page cursor is not one of ours.
            Unavailable: the index or a segment cannot be read.
        """
        with self._lock, _translated():
            conditions = self._conditions(tenancy, wanted, page.after)
            if conditions is None:
                return Page(())
            where, values = conditions
            rows = self._connection.execute(
                "select e.id, e.at, t.text, e.number, e.start, e.length, e.hash"  # noqa: S608  # conditions are our own text; values are bound
                " from entries e join terms t on t.id = e.writer"
                f" where {where} order by e.at desc, e.id desc limit ?",
                (*values, page.limit + 1),
            ).fetchall()
        shown = cut(rows, page.limit, lambda row: f"{row[1]}.{row[0]}")
        with _translated():
            return Page(self._read(shown.items), shown.next)

    def acts(self, tenancy: str, since: datetime) -> set[tuple[str, str]]:
        """Every (principal id, permission) that was not refused since then. Raises: Unavailable."""
        with self._lock, _translated():
            rows = self._connection.execute(
                "select distinct p.text, a.text from entries e join terms p on p.id = e.principal"
                " join terms a on a.id = e.action join terms o on o.id = e.outcome"
                " where e.tenancy = (select id from terms where text = ?) and e.at >= ? and o.text != 'refused'",
                (tenancy, _microseconds(since)),
            ).fetchall()
        return {(str(principal), str(action)) for principal, action in rows}

    def calls(self, tenancy: str, key: str, since: datetime) -> list[Use]:
        """Calls for a key from the day of `since` on, by principal, operation and outcome. Raises: Unavailable."""
        with self._lock, _translated():
            terms = [find_term(self._connection, text) for text in (tenancy, key)]
            return read_calls(self._connection, terms[0], terms[1], _microseconds(since))

    def heads(self) -> dict[str, Head]:
        """Of each writer: sequence and hash of its last entry, for the state to remember (law 11)."""
        with self._lock, _translated():
            return {place.writer: Head(place.sequence, place.last) for place in self._places() if place.sequence}

    def highest_generation(self) -> int:
        """The highest generation of a state change that the trail records."""
        with self._lock, _translated():
            row = self._connection.execute("select value from marks where name = 'generation'").fetchone()
            return int(row[0]) if row else 0

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these entries of state changes are in the trail already."""
        with self._lock, _translated():
            marks = ",".join("?" * len(ids))
            rows = self._connection.execute(f"select copied from entries where copied in ({marks})", ids)  # noqa: S608  # question marks
            return {row[0] for row in rows}

    def problems(self) -> dict[str, str]:
        """Writers whose chain cannot be followed, and why."""
        with self._lock, _translated():
            return {place.writer: place.problem for place in self._places() if place.problem}

    def verify(self) -> TrailReport:
        """Check every chain from its first line, and that no entry known here is missing from it; reads all of it.

        Raises:
            Unavailable: a segment cannot be read.
        """
        heads = self.heads()
        with _translated():
            return verify_trail(self._directory, heads)

    def view(self) -> AuditView:
        """For `check_rollback`; call `integrate` first."""
        return AuditView(self.highest_generation(), partial(hash_at, self._directory))

    def _places(self) -> list[_Place]:
        query = "select writer, number, end, sequence, chain, last_hash, problem from writers order by writer"
        return [_Place(*row) for row in self._connection.execute(query)]

    def _follow(self, place: _Place, numbers: set[int]) -> int:
        """Index what is new of one writer, whose segments are `numbers`."""
        count = 0
        while True:
            if place.number in numbers:
                found, data, begin = self._next_piece(place)
                count += self._take(place, found, data, begin)
                if found.lines and len(data) == PIECE_BYTES:
                    continue
                if found.state == "broken":
                    self._note(place, f"segment {place.number}: {found.problem}")
                    return count
            elif place.number:
                self._note(place, f"segment {place.number} is missing")
                return count
            later = [number for number in numbers if number > place.number]
            if not later:
                if place.problem:
                    self._note(place, "")
                return count
            if not self._advance(place, min(later)):
                return count

    def _next_piece(self, place: _Place) -> tuple[Scan, bytes, int]:
        """The next lines of a writer's segment, durable, with their offset in it."""
        path = segment_path(self._directory, place.writer, place.number)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found, data = self._scan(fd, place)
            if found.state == "broken":  # or read while its writer was just overwriting a torn end
                found, data = self._scan(fd, place)
            if os.fstat(fd).st_size < place.end:
                found = Scan((), 0, place.head, "broken", f"its end was cut off after byte {place.end}")
            if found.lines:
                # The writer may not have synced yet; an index that knows more than the disk would cry wolf.
                os.fdatasync(fd)
            return found, data, place.end
        finally:
            os.close(fd)

    def _scan(self, fd: int, place: _Place) -> tuple[Scan, bytes]:
        data = b""
        for size in (*_GLANCES, PIECE_BYTES):  # most often there is nothing new, or little
            data = os.pread(fd, size, place.end)
            unused = data.find(b"\0")
            if unused >= 0:
                data = data[:unused]
            if len(data) < size:
                break
        return scan(data, place.writer, place.head), data

    def _take(self, place: _Place, found: Scan, data: bytes, begin: int) -> int:
        """Insert the lines found and remember how far they go, in one transaction."""
        if not found.lines:
            return 0
        with self._transaction():
            rows, generation, counts = self._rows(place, found.lines, data, begin)
            add_calls(self._connection, counts)
            before = self._connection.total_changes
            self._connection.executemany(_INSERT, rows)
            count = self._connection.total_changes - before
            if generation:
                self._connection.execute(
                    "insert into marks values ('generation', ?)"
                    " on conflict (name) do update set value = max(value, excluded.value)",
                    (generation,),
                )
            place.end += found.end
            place.sequence, place.chain = found.head.sequence, found.head.hash
            place.last = place.chain
            self._save(place)
        return count

    def _rows(
        self, place: _Place, lines: Iterable[tuple[int, int, str]], data: bytes, begin: int
    ) -> tuple[list[tuple[Any, ...]], int, Counter[tuple[int, ...]]]:
        terms = self._terms
        if len(terms) > _TERMS_LIMIT:
            terms.clear()
        writer = terms[place.writer]
        rows, highest = [], 0
        counts: Counter[tuple[int, ...]] = Counter()
        copied: set[str] = set()
        for start, end, line_hash in lines:
            try:
                entry = decoder.decode(data[start:end]).entry
            except msgspec.MsgspecError:
                continue  # chained, so its writer wrote it; `verify` reports it
            generation = entry.generation
            highest = max(highest, generation)
            if entry.resource_type in COUNTED and not (generation and self._seen(entry.id, copied)):
                counts[counted_as(entry, terms, _microseconds(entry.at))] += 1
            rows.append(
                (
                    terms[entry.tenancy],
                    _microseconds(entry.at),
                    terms[entry.principal_id],
                    terms[entry.principal_name],
                    terms[entry.action],
                    terms[entry.operation],
                    terms[entry.resource_id],
                    terms[entry.resource_name],
                    terms[entry.resource_type],
                    terms[entry.outcome],
                    writer,
                    place.number,
                    begin + start,
                    end - start,
                    bytes.fromhex(line_hash),
                    entry.id if generation else None,
                )
            )
        return rows, highest, counts

    def _seen(self, copied: str, now: set[str]) -> bool:
        """Whether an entry of a state change is indexed already, or comes twice in what is taken `now`."""
        if copied in now:
            return True
        now.add(copied)
        query = "select 1 from entries where copied = ?"
        return self._connection.execute(query, (copied,)).fetchone() is not None

    def _advance(self, place: _Place, number: int) -> bool:
        """Go on to the writer's next segment, if it is the next and continues this one."""
        path = segment_path(self._directory, place.writer, number)
        with path.open("rb") as file:
            data = file.read(LINE_LIMIT)
        try:
            header, after, begin = open_segment(data)
        except Broken as error:
            self._note(place, f"segment {number}: {error}")
            return False
        if number != place.number + 1 or header.number != number or header.writer != place.writer:
            self._note(place, f"segment {place.number + 1} is missing")
            return False
        if header.head != place.head:
            self._note(place, f"segment {number} does not continue the one before it")
            return False
        place.number, place.end, place.chain, place.problem = number, begin, after.hash, ""
        with self._transaction():
            self._save(place)
        return True

    def _note(self, place: _Place, problem: str) -> None:
        if place.problem != problem:
            place.problem = problem
            with self._transaction():
                self._save(place)

    def _save(self, place: _Place) -> None:
        self._connection.execute(
            "insert or replace into writers values (?,?,?,?,?,?,?)",
            (place.writer, place.number, place.end, place.sequence, place.chain, place.last, place.problem),
        )

    def _conditions(self, tenancy: str, wanted: EntryFilter, after: str | None) -> tuple[str, list[int]] | None:
        """The where-clause and its values; None when a text occurs nowhere, so that nothing can match."""
        parts, values = [], list[int]()
        for text, columns in (
            (tenancy, ("tenancy",)),
            (wanted.principal, ("principal", "principal_name")),
            (wanted.action, ("action", "operation")),
            (wanted.resource, ("resource", "resource_name", "resource_type")),
            (wanted.outcome, ("outcome",)),
        ):
            if not text and columns != ("tenancy",):
                continue
            term = find_term(self._connection, text)
            if term is None:
                return None
            parts.append("(" + " or ".join(f"e.{column} = ?" for column in columns) + ")")
            values += [term] * len(columns)
        if wanted.since is not None:
            parts.append("e.at >= ?")
            values.append(_microseconds(wanted.since))
        if wanted.until is not None:
            parts.append("e.at < ?")
            values.append(_microseconds(wanted.until))
        if after is not None:
            parts.append("(e.at, e.id) < (?, ?)")
            values += _cursor(after)
        return " and ".join(parts), values

    def _read(self, rows: Sequence[tuple[int, int, str, int, int, int, bytes]]) -> list[Entry]:
        """The entries from the places of their lines."""
        open_files: dict[tuple[str, int], int] = {}
        try:
            entries = []
            for _id, _at, writer, number, start, length, line_hash in rows:
                fd = open_files.get((writer, number))
                if fd is None:
                    path = segment_path(self._directory, writer, number)
                    fd = open_files[writer, number] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                line = os.pread(fd, length, start)
                if sha256(line).digest() != line_hash:
                    raise Broken("not the line that was indexed")
                entries.append(parse_line(line))
            return entries
        except Broken as error:
            raise Unavailable(
                "AuditChanged",
                "the audit trail does not hold what its index knows",
                hint="run `keystead audit verify`",
            ) from error
        finally:
            for fd in open_files.values():
                os.close(fd)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            self._terms.clear()  # some of them may have gone with it
            raise
        self._connection.execute("commit")


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _cursor(after: str) -> tuple[int, int]:
    at, _, number = after.partition(".")
    try:
        return int(at), int(number)
    except ValueError as error:
        raise Refusal(
            "InvalidParameter", "the page cursor is not one of ours", hint="start again without it"
        ) from error


@contextmanager
def _translated() -> Iterator[None]:
    """Outages of the disk and of SQLite as ours."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        raise Unavailable("AuditIndexUnavailable", f"the audit index does not answer: {error}") from error
