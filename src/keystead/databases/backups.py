"""How backups are taken, restored and deleted, as flows (jobs/runner.py runs them).

A backup is one encrypted stream (docs/formats/stream.md) under a key of its own, which is stored wrapped by a CMEK. Its
header holds what a restore needs after the source is gone: the source's data keys, each sealed under the backup's own
key and bound to backup, slot and number. A restored system gets a store key and data keys of its own; the source's stay
only until every page is rewritten.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from keystead.core.canonical import Value
from keystead.core.clock import Clock, isoformat
from keystead.core.errors import Fault, Refusal, Unavailable, Unreadable
from keystead.core.secret import Secret
from keystead.crypto.envelope import Binding, Kek
from keystead.crypto.stream import Reader, StreamHeader, decrypt_stream, encrypt_stream, read_header, verify_header
from keystead.databases.desk import principal_of, target_of
from keystead.databases.flows import ACCESS_LOST, Steps, publish
from keystead.databases.hierarchy import StoreKey
from keystead.databases.model import Backup, BackupState, DbSystem, WrappedKey
from keystead.databases.ports import BackupFiles, DatabaseStore, Host
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Target
from keystead.jobs.model import Job
from keystead.jobs.runner import Canceled, Progress, Waiting
from keystead.vault.memory.snapshot import Snapshot
from keystead.vault.use.association import Associations, Purpose

FORMAT = "keystead-backup-1"
TRIES = 3
_REPORT_EVERY = 8 << 20


class BackupSteps(Steps):
    """What the flows of backups share."""

    def __init__(
        self,
        guard: Guard,
        snapshot: Snapshot,
        store: DatabaseStore,
        associations: Associations,
        host: Host,
        clock: Clock,
        region: str,
        files: BackupFiles,
    ) -> None:
        super().__init__(guard, snapshot, store, associations, host, clock, region)
        self.files = files

    def backup_of(self, job: Job) -> Backup:
        """The backup that the job is about, and a snapshot as of now. Raises: Refusal `BackupGone`."""
        found = self.find_backup(job)
        if found is None:
            raise Refusal("BackupGone", "the backup was deleted", kind="not_found")
        return found

    def find_backup(self, job: Job) -> Backup | None:
        """The backup that the job is about, and a snapshot as of now."""
        self.snapshot.refresh()
        with self.store.read() as tx:
            return tx.databases.backup(job.tenancy, job.input.get("backup", job.resource))

    def open_key(self, caller: Caller, key: str, blob: bytes, purpose: Purpose, resource: str) -> Secret:
        """Unwrap as `caller`. Raises: Waiting while it may not be used."""
        try:
            return self.associations.open(caller, key, blob, purpose, resource)
        except Unreadable:
            raise
        except Refusal as refusal:
            if refusal.code in ACCESS_LOST:
                raise Waiting(refusal.message) from refusal
            raise

    def while_granted(self, system: DbSystem, key: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """`chunks`, for as long as the system may use `key`: a key taken away ends a stream that is under way.

        Raises: Waiting.
        """
        for chunk in chunks:
            access = self.associations.access(principal_of(system), key)
            if not access.granted:
                raise Waiting(access.text)
            yield chunk

    def set_backup(self, backup: Backup, state: BackupState, caller: Caller, **changes: object) -> bool:
        """Move a backup on; False when somebody else moved it in between: theirs stands."""
        place = self.snapshot.directory.compartment(backup.tenancy, backup.compartment)
        path = place.path if place is not None else (backup.compartment,)
        entry = self.guard.entry(
            caller,
            "MYSQL_BACKUP_UPDATE",
            Target("mysql-backups", backup.id, backup.name, backup.tenancy, path),
            "SetBackupState",
            "succeeded",
            detail={"state": state},
        )
        with self.store.write(entry) as tx:
            current = tx.databases.backup(backup.tenancy, backup.id)
            if current is None or current.state != backup.state:
                return False
            return tx.databases.change_backup(current, replace(current, state=state, **changes))  # type: ignore[arg-type]  # its fields


class TakeBackup(BackupSteps):
    """A full backup, streamed from the host through encryption into the store of backups."""

    steps = ("take",)

    def do_take(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        backup = self.backup_of(job)
        if backup.state == "ACTIVE":
            return {}
        self.recheck(job, system)
        identity = self.identity(job, system)
        with self.store.read() as tx:
            rows = tx.databases.wrapped(system.tenancy, system.id)
        store_row = next(row for row in rows if row.kind == "store")
        material = self.open_key(identity, system.key, store_row.blob, "store-key", system.id)
        store_key = StoreKey(material, system.tenancy, self.region, system.id)
        material.wipe()
        own = self.open_key(identity, backup.key, backup.wrapped, "backup-key", backup.id)
        try:
            fields = header_fields(backup, system, self.region, own, rows, store_key)
            size = self._write(backup, system, own, fields, progress)
        except Refusal as refusal:
            if refusal.code in ACCESS_LOST:
                raise Waiting(refusal.message) from refusal
            raise
        finally:
            own.wipe()
        detail = {"data_key_versions": fields_versions(rows), "administrator": system.admin_username}
        if not self.set_backup(backup, "ACTIVE", identity, size=size, detail=detail):
            self.files.delete(backup.id)
            raise Canceled
        return {"size": str(size)}

    def abandon(self, job: Job) -> None:
        try:
            backup, system = self.backup_of(job), self.system(job)
        except (Canceled, Refusal):
            return
        if backup.state == "CREATING":
            self.files.delete(backup.id)
            self.set_backup(backup, "FAILED", self.identity(job, system), reason_text="it could not be completed")

    def _write(
        self, backup: Backup, system: DbSystem, own: Secret, fields: Mapping[str, Value], progress: Progress
    ) -> int:
        """How many bytes it has. One that a table disturbed, coming or going while it was read, is taken again."""
        for left in reversed(range(TRIES)):
            stream = encrypt_stream(own.reveal(), fields, self._counted(system, backup.key, progress))
            try:
                return self.files.write(backup.id, stream)
            except Unavailable as reason:
                if reason.code != "BackupDisturbed":
                    raise
                if not left:
                    raise Fault("BackupFailed", f"the backup failed {TRIES} times: {reason.message}") from reason
        raise AssertionError

    def _counted(self, system: DbSystem, key: str, progress: Progress) -> Iterator[bytes]:
        done, told = 0, 0
        for chunk in self.while_granted(system, key, self.host.backup(system.id)):
            done += len(chunk)
            yield chunk
            if done - told >= _REPORT_EVERY:
                told = done
                progress(50, f"{done >> 20} MiB read")


class DeleteBackup(BackupSteps):
    """Erase the bytes, then forget the backup."""

    steps = ("erase",)

    def run(self, step: str, job: Job, progress: Progress) -> Mapping[str, str]:
        backup = self.find_backup(job)
        if backup is None:  # deleted, and killed before that was recorded
            return {}
        self.files.delete(backup.id)
        requester = self.snapshot.directory.principal(job.requester)
        if requester is None:
            raise Fault("RequesterGone", "whoever asked for this no longer exists")
        self.set_backup(backup, "DELETED", Caller(requester, request_id=job.id, source="work"))
        return {}

    def abandon(self, job: Job) -> None:
        """A deletion that did not succeed stays DELETING and can be asked for again."""


class Restore(BackupSteps):
    """From a backup to a new, ACTIVE system under keys of its own."""

    steps = ("receive", "start", "adopt", "accounts", "publish", "reencrypt", "activate")

    def do_receive(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        """Data keys first, then the bytes; nothing unverified reaches the disk as a database."""
        self.recheck(job, system)
        backup = self.backup_of(job)
        identity = self.identity(job, system)
        own = self.open_key(identity, backup.key, backup.wrapped, "backup-key", backup.id)
        try:
            source = Reader(self.files.read(backup.id))
            header = read_header(source)
            verify_header(own.reveal(), header)
            self._take_over_keys(job, system, backup, own, header)
            chunks = decrypt_stream(own.reveal(), source, header)
            progress(5, "reading the backup")
            return self._send(system, self.while_granted(system, backup.key, chunks))
        finally:
            own.wipe()

    def do_adopt(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        """Drop the source's administrator; the customer's own accounts are part of the data and stay."""
        administrator = self.backup_of(job).detail.get("administrator")
        return self.apply("adopt", system, progress, administrator=administrator) if administrator else {}

    def do_publish(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        return {} if "number" in job.result else publish(self, job, system)

    def do_reencrypt(self, job: Job, system: DbSystem, progress: Progress) -> Mapping[str, str]:
        return self.apply("reencrypt", system, progress)

    def _send(self, system: DbSystem, chunks: Iterator[bytes]) -> Mapping[str, str]:
        try:
            return self.host.restore(system.id, chunks)
        except Refusal as refusal:
            if refusal.code in ACCESS_LOST:
                raise Waiting(refusal.message) from refusal
            raise

    def _take_over_keys(self, job: Job, system: DbSystem, backup: Backup, own: Secret, header: StreamHeader) -> None:
        """Wrap the source's data keys under the new store key, with their numbers; once."""
        with self.store.read() as tx:
            rows = tx.databases.wrapped(system.tenancy, system.id)
        if any(row.kind == "data" for row in rows):
            return
        identity = self.identity(job, system)
        store_row = next(row for row in rows if row.kind == "store")
        material = self.open_key(identity, system.key, store_row.blob, "store-key", system.id)
        store_key = StoreKey(material, system.tenancy, self.region, system.id)
        material.wipe()
        now = self.clock.now()
        keys = opened_keys(header, backup, self.region, own)
        newest = {slot: max(number for s, number in keys if s == slot) for slot, _ in keys}
        entry = self.guard.entry(
            identity, "MYSQL_INSTANCE_UPDATE", target_of(system, self.snapshot), "TakeOverDataKeys", "succeeded"
        )
        with self.store.write(entry) as tx:
            if any(row.kind == "data" for row in tx.databases.wrapped(system.tenancy, system.id)):
                return
            highest = max(number for _, number in keys)
            tx.databases.next_number(system, highest - 1)  # the counter stood at 1
            for (slot, number), key in keys.items():
                wrapped = store_key.wrap(slot, number, key, system.node, now, latest=newest[slot] == number)
                tx.databases.add_wrapped(system.tenancy, wrapped)
                key.wipe()


def header_fields(
    backup: Backup, system: DbSystem, region: str, own: Secret, rows: Sequence[WrappedKey], store_key: StoreKey
) -> dict[str, Value]:
    """The stream's header: what the backup is, and the source's data keys under the backup's own key."""
    kek = Kek(own.reveal(), backup.id, 1)
    keys: list[Value] = []
    for row in rows:
        if row.kind == "data":
            key = store_key.open(row)
            sealed = kek.seal(key.reveal(), _binding(backup, region, row.slot, row.number))
            key.wipe()
            keys.append({"slot": row.slot, "number": row.number, "blob": base64.b64encode(sealed).decode()})
    return {
        "format": FORMAT,
        "backup": backup.id,
        "tenancy": backup.tenancy,
        "region": region,
        "key": backup.key,
        "key_version": backup.key_version,
        "system": system.id,
        "system_name": system.name,
        "taken_at": isoformat(backup.created_at),
        "data_keys": keys,
    }


def opened_keys(header: StreamHeader, backup: Backup, region: str, own: Secret) -> dict[tuple[int, int], Secret]:
    """The source's data keys by slot and number, from a header that was verified. Raises: Unreadable."""
    kek = Kek(own.reveal(), backup.id, 1)
    fields = header.fields
    listed = fields.get("data_keys")
    if (
        fields.get("format") != FORMAT
        or fields.get("backup") != backup.id
        or not isinstance(listed, list)
        or not listed
    ):
        raise Unreadable
    keys: dict[tuple[int, int], Secret] = {}
    for item in listed:
        if not isinstance(item, dict):
            raise Unreadable
        slot, number, blob = item.get("slot"), item.get("number"), item.get("blob")
        if not isinstance(slot, int) or not isinstance(number, int) or not isinstance(blob, str):
            raise Unreadable
        binding = _binding(backup, region, slot, number)
        keys[slot, number] = Secret(kek.open(base64.b64decode(blob), binding))
    return keys


def fields_versions(rows: Sequence[WrappedKey]) -> str:
    """The data-key versions that a backup needs, for its listing."""
    return ",".join(sorted({str(row.number) for row in rows if row.kind == "data"}, key=int))


def _binding(backup: Backup, region: str, slot: int, number: int) -> Binding:
    place = f"{slot}/{number}".encode()
    return Binding("backup-data-key", backup.tenancy, region, backup.id, backup.id, place)
