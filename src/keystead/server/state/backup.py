"""Backup and restore of a region's own state.

A backup is one encrypted stream (crypto/stream.py) under the root key's "state-backup" subkey:

    fields   {"format": "keystead-state-backup", "version": 1, "region", "created_at", "generation", "program",
              "seal": base64 of the seal file}          readable, authenticated: says what it is and what opens it
    content  a POSIX tar of keystead.toml, both authorities (keys wrapped), host/machine.*, audit/*.seg, state.db

The root key is in it only as the seal's slots hold it: wrapped. Segments are taken before the state, so that the state
in it is never older than the trail in it.

Restoring verifies everything before anything is visible, records itself, and leaves every key disabled and every
database system fenced until somebody enables and confirms them (law 11): what was allowed then may not be now.
"""

import base64
import io
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import sqlalchemy as sa

from keystead import __version__
from keystead.adapters.segment_files import list_segments, verify_trail
from keystead.adapters.sql import migrations, schema
from keystead.adapters.sql.audit_index import AuditIndex
from keystead.adapters.sql.engine import sqlite_engine
from keystead.audit.segment import open_segment, scan
from keystead.core.canonical import Value
from keystead.core.clock import Clock, isoformat
from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.stream import Reader, StreamHeader, decrypt_stream, encrypt_stream, read_header
from keystead.iam.guard import Guard
from keystead.iam.model import Caller
from keystead.seal import service as sealing
from keystead.seal.model import SealFile, decode
from keystead.seal.openers import Opener, Passphrase
from keystead.seal.service import RootKey
from keystead.server import authority, machine
from keystead.server.sealing.unseal import SEAL_NAME, read_key_file
from keystead.server.sections import UnsealSection
from keystead.server.settings import FILE_NAME, Effective, parse, render
from keystead.server.state.building import Building, building, write
from keystead.server.state.opening import INDEX_FILE, SEGMENTS, STATE_FILE
from keystead.server.state.rollback import accept_state

FORMAT: Final = "keystead-state-backup"
VERSION: Final = 1
RESTORED: Final = "RestoreState"  # the operation, and who changed what it changes
PIECE: Final = 256 * 1024
BLOCK: Final = 512
_FIXED: Final = (
    *authority.FILES,
    f"{machine.DIRECTORY}/{machine.NAME_FILE}",
    f"{machine.DIRECTORY}/{machine.KEY_FILE}",
)
_NEEDED: Final = frozenset({*_FIXED, FILE_NAME, STATE_FILE})
_SEGMENT: Final = re.compile(r"audit/[a-z0-9][a-z0-9-]{0,62}\.\d{8}\.seg")


class StateBackup:
    """Makes backups of the state of the region that runs here."""

    def __init__(self, guard: Guard, effective: Effective, key: Secret, clock: Clock) -> None:
        self._guard = guard
        self._effective = effective
        self._key = key
        self._clock = clock

    def backup(self, caller: Caller) -> Iterator[bytes]:
        """An encrypted stream of the state as it is now. Raises: Refusal, before anything is read."""
        self._guard.permit(caller, "STATE_BACKUP", self._guard.region_itself(), "BackUpState")
        return self._stream(self._effective.settings.region.name)

    def _stream(self, region: str) -> Iterator[bytes]:
        # An unnamed file: whatever happens, no copy of the state is left behind.
        with tempfile.TemporaryFile(dir=self._effective.runtime) as spool:
            yield from self._make(region, spool)

    def _make(self, region: str, spool: IO[bytes]) -> Iterator[bytes]:
        state = self._effective.state
        segments = list(_segments(state / SEGMENTS))
        generation = _copy_state(state / STATE_FILE, spool, self._effective.runtime)
        fields: dict[str, Value] = {
            "format": FORMAT,
            "version": VERSION,
            "region": region,
            "created_at": isoformat(self._clock.now()),
            "generation": generation,
            "program": __version__,
            "seal": base64.b64encode((state / SEAL_NAME).read_bytes()).decode(),
        }
        yield from encrypt_stream(self._key.reveal(), fields, self._archive(segments, spool))

    def _archive(self, segments: list[tuple[str, Path, int]], spool: IO[bytes]) -> Iterator[bytes]:
        yield from _member(FILE_NAME, self._effective.file)
        for name in _FIXED:
            yield from _member(name, self._effective.state / name)
        for name, path, size in segments:
            yield from _member(name, path, size)
        size = spool.seek(0, 2)
        spool.seek(0)
        yield from _entry(STATE_FILE, size, spool)
        yield bytes(2 * BLOCK)


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back."""

    region: str
    created_at: str
    generation: int
    systems: int
    keys: int
    state: Path
    problems: tuple[str, ...]

    def summary(self) -> dict[str, object]:
        """For scripts."""
        return {
            "region": self.region,
            "created_at": self.created_at,
            "generation": self.generation,
            "fenced_systems": self.systems,
            "disabled_keys": self.keys,
            "state": str(self.state),
            "audit_problems": list(self.problems),
        }


Giving = Callable[[SealFile], Opener]
"""Asks for what opens a seal, once it is known what does."""


def restore(
    file: Path,
    into: Path,
    key_file: Path | None,
    passphrase: Secret | None,
    clock: Clock,
    giving: Giving | None = None,
) -> Restored:
    """Bring the backup `file` back as the state directory `into`, which must be absent or empty.

    Raises:
        Refusal: `RegionExists`, `NotEmpty`, `NoBackup`, `InvalidBackup`, `WrongRootKey`; nothing is left behind.
    """
    with building(into, "state restore") as site:
        try:
            source = file.open("rb")
        except OSError as error:
            raise Refusal("NoBackup", f"{file} cannot be read: {error.strerror}", kind="not_found") from error
        with source:
            try:
                header = read_header(source)
                root = _open(header, key_file, passphrase, giving)
                site.lay_out()
                _unpack(site, decrypt_stream(root.subkey("state-backup").reveal(), source, header))
            except Unreadable:
                raise _invalid(file, "it is cut short, changed, or not a state backup") from None
            except tarfile.TarError as error:
                raise _invalid(file, "its content is not what we write") from error
        found = _settle(site, header, key_file, root, clock, file)
        site.publish()
    return found


def _open(
    header: StreamHeader, key_file: Path | None, passphrase: Secret | None, giving: Giving | None = None
) -> RootKey:
    """The root key, by the seal in the header. Raises: Unreadable, Refusal."""
    fields = header.fields
    if fields.get("format") != FORMAT or fields.get("version") != VERSION:
        raise Unreadable
    seal = decode(_seal_of(header))
    opener: Opener
    if giving is not None:
        opener = giving(seal)
        what = f"this {opener.kind}"
    elif key_file is not None:
        opener, what = read_key_file(key_file), f"the key file {key_file}"
    elif passphrase is not None:
        opener, what = Passphrase(passphrase.reveal().decode(errors="replace")), "this passphrase"
    else:
        raise Refusal("PassphraseNeeded", "nothing was given to open it with", hint="--key-file, or --with")
    try:
        return sealing.open(seal, opener)
    except Unreadable:
        raise Refusal(
            "WrongRootKey",
            f"{what} does not open this backup",
            hint=f"it is of region {seal.region!r}, made {fields.get('created_at')}",
        ) from None


def _seal_of(header: StreamHeader) -> bytes:
    text = header.fields.get("seal")
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return b""


def _unpack(site: Building, pieces: Iterator[bytes]) -> None:
    """Write the members where they belong; names that we do not write are refused."""
    reader = io.BufferedReader(_Plaintext(pieces), PIECE)
    seen = set[str]()
    with tarfile.open(fileobj=reader, mode="r|") as archive:
        for member in archive:
            known = member.name in _NEEDED or _SEGMENT.fullmatch(member.name) is not None
            content = archive.extractfile(member) if member.isreg() else None
            if not known or member.name in seen or content is None:
                raise tarfile.TarError("a member that does not belong here")
            seen.add(member.name)
            _write(site.directory / member.name, content)
    while reader.read(PIECE):  # what follows is verified too: only the end says that all is there
        pass
    if missing := _NEEDED - seen:
        raise tarfile.TarError(f"missing: {sorted(missing)}")


def _settle(
    site: Building, header: StreamHeader, key_file: Path | None, root: RootKey, clock: Clock, file: Path
) -> Restored:
    """Check what was unpacked, bring it to this program's schema, fence, record."""
    directory = site.directory
    region, created = str(header.fields["region"]), str(header.fields["created_at"])
    write(directory / SEAL_NAME, _seal_of(header))
    if root.region != region or machine.this_machine(directory).region != region:
        raise _invalid(file, "its parts are of different regions")
    for kind in authority.KINDS:
        authority.load(directory, root, kind)
    root.wipe()
    _rewrite_settings(site, key_file)
    report = verify_trail(directory / SEGMENTS)
    problems = tuple(f"{each.writer}: {problem}" for each in report.writers for problem in each.problems)
    engine = sqlite_engine(directory / STATE_FILE)
    try:
        generation = _settle_state(engine, directory, created, clock, file)
        with engine.connect() as connection:
            systems = _count(connection, schema.db_systems, schema.db_systems.c.state != "DELETED")
            keys = _count(connection, schema.keys, schema.keys.c.changed_by == RESTORED)
    finally:
        engine.dispose()
    return Restored(region, created, generation, systems, keys, site.state, problems)


def _settle_state(engine: sa.Engine, directory: Path, created: str, clock: Clock, file: Path) -> int:
    with engine.connect() as connection:
        if connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() != "ok":
            raise _invalid(file, "the database in it is damaged")
    migrations.upgrade(engine)
    index = AuditIndex(directory / INDEX_FILE, directory / SEGMENTS)
    try:
        index.integrate()
        reason = f"restored from a backup of {created}"
        accept_state(engine, index.highest_generation(), index.heads(), RESTORED, reason, clock)
    finally:
        index.close()
    with engine.connect() as connection:
        return int(connection.execute(sa.select(schema.region.c.generation)).scalar_one())


def _count(connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(where)).scalar_one())


def _rewrite_settings(site: Building, key_file: Path | None) -> None:
    """The settings as they were, in their new place, with the key file that was given now."""
    path = site.directory / FILE_NAME
    found = parse(path.read_bytes(), site.state / FILE_NAME, {}).settings
    chosen = key_file.absolute() if key_file is not None else Path(found.unseal.key_file)
    unseal = UnsealSection(key_file=str(chosen) if chosen.is_file() else "")
    settings = msgspec.structs.replace(found, state=msgspec.structs.replace(found.state, dir=""), unseal=unseal)
    path.unlink()
    write(path, render(settings).encode())


def _segments(directory: Path) -> Iterator[tuple[str, Path, int]]:
    """Every segment with its name and the bytes of it that are whole: a group may be half written."""
    for writer, numbered in list_segments(directory).items():
        for _number, path in numbered:
            data = path.read_bytes()
            _header, after, begin = open_segment(data)
            yield f"audit/{path.name}", path, begin + scan(data[begin:], writer, after).end


def _copy_state(path: Path, spool: IO[bytes], directory: Path) -> int:
    """A consistent copy of the database, while others write; returns its generation."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="backup-") as place:
        copy = Path(place) / STATE_FILE
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("pragma journal_mode=delete")
            generation = int(target.execute("select generation from region").fetchone()[0])
        with copy.open("rb") as content:
            shutil.copyfileobj(content, spool, PIECE)
    return generation


def _member(name: str, path: Path, size: int | None = None) -> Iterator[bytes]:
    with path.open("rb") as content:
        yield from _entry(name, path.stat().st_size if size is None else size, content)


def _entry(name: str, size: int, content: IO[bytes]) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    yield info.tobuf(tarfile.USTAR_FORMAT)
    left = size
    while left:
        piece = content.read(min(PIECE, left))
        if not piece:
            raise Refusal("StateChanged", f"{name} became shorter while it was read", kind="unavailable")
        left -= len(piece)
        yield piece
    yield bytes(-size % BLOCK)


def _write(path: Path, content: IO[bytes]) -> None:
    write(path, b"", 0o644 if path.name in authority.CERTIFICATES else 0o600)
    with path.open("r+b") as file:
        shutil.copyfileobj(content, file, PIECE)
        file.flush()
    if path.name == machine.KEY_FILE:
        path.chmod(0o400)


class _Plaintext(io.RawIOBase):
    """Pieces as a file, for a `BufferedReader`."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._reader = Reader(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = self._reader.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _invalid(file: Path, why: str) -> Refusal:
    return Refusal("InvalidBackup", f"{file} cannot be restored: {why}", hint="use another copy; nothing was changed")
