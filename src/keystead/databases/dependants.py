"""What of databases needs which key: read from envelopes and from the headers of backups, joined with the rows.

    system    its store key's envelope names key and version
    backup    its own key's envelope does; the header at the beginning of its bytes says what the bytes are
    bytes     that no record knows: by the key that their header names
    job       unfinished, and at work with one of these

Headers are read before a transaction and remembered: a backup's bytes never change. Rows are read inside it, so that
what is counted is what the transaction changes against. A header that cannot be read is not nothing: its backup counts
by its record, and says so.

Keys may be shared with other tenancies: what those keep counts as well. Who asks sees that there is something, and what
it is called only where that may be inspected, which across tenancies nothing is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from keystead.core.errors import Refusal, Unreadable
from keystead.core.ids import looks_like_id
from keystead.crypto.envelope import peek
from keystead.crypto.stream import Reader, read_header
from keystead.databases.backups import FORMAT
from keystead.databases.model import Backup, DbSystem
from keystead.databases.ports import BackupFiles, DatabaseTx
from keystead.jobs.model import Job
from keystead.vault.insight.inventory import Evidence, Need
from keystead.vault.model import Key
from keystead.vault.ports import VaultTx

AT_WORK = frozenset({"CREATING", "ACTIVE", "UPDATING", "STARTING"})
USES_KEYS = frozenset({"create", "start", "restart", "rotate", "verify", "backup", "restore"})


@dataclass(frozen=True, slots=True)
class Header:
    """What the bytes of a backup say of themselves. `key` is empty where they do not name it; `problem`: unreadable."""

    tenancy: str = ""
    system_name: str = ""
    key: str = ""
    key_version: int = 0
    problem: str = ""


class DatabaseDependants:
    """`Dependants` for what databases keep. Safe from every thread: what it remembers is only ever added to."""

    def __init__(self, files: BackupFiles) -> None:
        self._files = files
        self._known: dict[str, Header] = {}

    def survey(self) -> "DatabaseSurvey":
        """Read the headers that were not read yet. Raises: Unavailable."""
        headers: dict[str, Header] = {}
        for name in self._files.names():
            found = self._known.get(name) or self._read(name)
            if found is None:
                continue
            headers[name] = found
            if not found.problem:
                self._known[name] = found
        return DatabaseSurvey(headers)

    def _read(self, name: str) -> Header | None:
        """None: it has been deleted meanwhile."""
        try:
            pieces = self._files.read(name)
            try:
                fields = read_header(Reader(pieces)).fields
            finally:
                _let_go(pieces)
        except Unreadable:
            return Header(problem="the header of its bytes cannot be read")
        except Refusal as refusal:
            if refusal.code == "BackupMissing":
                return None
            raise
        return _header(name, fields)


class DatabaseSurvey:
    """The headers, to be joined with a transaction's rows."""

    def __init__(self, headers: Mapping[str, Header]) -> None:
        self._headers = headers

    def needs(self, tx: VaultTx, key: Key) -> Sequence[Need]:
        """Every system, node, backup and job that needs the key, of whatever tenancy."""
        rows = cast(DatabaseTx, tx)  # one store: every package sees its transactions through its own rows
        systems = self._systems(rows, key)
        backups = self._backups(rows, key)
        nodes = [_node(system, need) for system, need in systems]
        found = [need for _, need in systems]
        jobs = _jobs(rows, key, [*found, *backups])
        return [*found, *nodes, *backups, *jobs]

    def _systems(self, tx: DatabaseTx, key: Key) -> list[tuple[DbSystem, Need]]:
        versions: dict[str, list[int]] = {}
        for row in tx.databases.store_keys():
            named, number, _ = _named_by(row.blob, row.parent, row.parent_version)
            if named == key.id:
                versions.setdefault(row.system, []).append(number)
        found = []
        for system in sorted(tx.databases.all_systems(), key=lambda system: system.name):
            numbers = versions.get(system.id, [])
            if not numbers and system.key != key.id:
                continue
            evidence: Evidence = "envelope" if numbers else "row"
            problem = "" if system.key == key.id else "its record names another key than the envelope of its store key"
            need = Need(
                kind="dbsystem",
                id=system.id,
                name=system.name,
                compartment=system.compartment,
                versions=tuple(sorted(set(numbers or [system.key_version]))),
                evidence=evidence,
                state=system.state,
                running=system.state in AT_WORK,
                follows=system.follow_key,
                problem=problem,
            )
            found.append((system, need))
        return found

    def _backups(self, tx: DatabaseTx, key: Key) -> list[Need]:
        records = {backup.id: backup for backup in tx.databases.all_backups()}
        named = sorted(records.values(), key=lambda backup: backup.name)
        found = [need for backup in named if (need := self._backup(backup, key)) is not None]
        for name, header in self._headers.items():
            if name not in records and header.key == key.id:
                found.append(_unrecorded(name, header, key))
        return found

    def _backup(self, backup: Backup, key: Key) -> Need | None:
        named, number, read = _named_by(backup.wrapped, backup.key, backup.key_version)
        header = self._headers.get(backup.id)
        if named != key.id or (header is None and backup.state == "FAILED"):
            return None
        problem = header.problem if header is not None else ""
        if header is None and backup.state == "ACTIVE":
            problem = "its bytes are not in the store of backups"
        elif header is not None and not problem and header.tenancy != backup.tenancy:
            problem = "the header of its bytes names another tenancy"
        elif backup.key != key.id:
            problem = "its record names another key than the envelope of its own key"
        evidence: Evidence = "row"
        if read:
            evidence = "header" if header is not None and not header.problem else "envelope"
        return Need(
            kind="backup",
            id=backup.id,
            name=backup.name,
            compartment=backup.compartment,
            versions=(number,),
            evidence=evidence,
            state=backup.state,
            part_of=backup.system,
            problem=problem,
        )


def _let_go(pieces: Iterator[bytes]) -> None:
    """Close what they are read from, without reading on."""
    close = getattr(pieces, "close", None)
    if close is not None:
        close()


def _header(name: str, fields: Mapping[str, object]) -> Header:
    tenancy, key, number = fields.get("tenancy"), fields.get("key", ""), fields.get("key_version", 0)
    system_name = fields.get("system_name", "")
    if fields.get("format") != FORMAT or fields.get("backup") != name or not isinstance(tenancy, str):
        return Header(problem="the header of its bytes is not that of this backup")
    known = isinstance(key, str) and isinstance(number, int) and looks_like_id(key, "key")
    return Header(tenancy, str(system_name), str(key) if known else "", cast(int, number) if known else 0)


def _named_by(blob: bytes, key: str, number: int) -> tuple[str, int, bool]:
    """Key and version that an envelope names; those of its record when it cannot be read, and whether it could."""
    try:
        header = peek(blob)
    except Unreadable:
        return key, number, False
    return header.key_id, header.key_version, True


def _node(system: DbSystem, need: Need) -> Need:
    name = f"node of {system.name}"
    return replace(need, kind="node", id=system.node, name=name, follows=False, part_of=system.id, problem="")


def _unrecorded(name: str, header: Header, key: Key) -> Need:
    return Need(
        kind="backup",
        id=name,
        name=f"a backup of {header.system_name}",
        compartment=key.compartment if header.tenancy == key.tenancy else "",
        versions=(header.key_version,),
        evidence="header",
        problem="there is no record of it: without one it cannot be restored, and can be deleted",
    )


def _jobs(tx: DatabaseTx, key: Key, needs: Sequence[Need]) -> list[Need]:
    by_id = {need.id: need for need in needs}
    found = []
    for job in tx.jobs.unfinished():
        about = [by_id[thing] for thing in (job.resource, job.input.get("backup", "")) if thing in by_id]
        if about and job.kind in USES_KEYS:
            found.append(_job(job, about))
    return found


def _job(job: Job, about: Sequence[Need]) -> Need:
    return Need(
        kind="job",
        id=job.id,
        name=f"{job.kind} {job.resource_name}",
        compartment=job.compartment,
        versions=tuple(sorted({number for need in about for number in need.versions})),
        evidence=about[0].evidence,
        state=job.state,
        running=job.state == "IN_PROGRESS",
        part_of=job.resource,
    )
