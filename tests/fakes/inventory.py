"""What tells of dependants: backups in memory, and a trail over entries in a list."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from keystead.adapters.sql.key_trail import COPIES
from keystead.audit.model import Entry
from keystead.core.errors import Refusal, Unavailable
from keystead.vault.insight.inventory import Copy
from keystead.vault.insight.usage import Use


class MemoryBackups:
    """`BackupFiles` in memory; does not answer when `broken`."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.broken = False
        self.reads = 0

    def write(self, name: str, chunks: Iterator[bytes]) -> int:
        self.held[name] = b"".join(chunks)
        return len(self.held[name])

    def read(self, name: str) -> Iterator[bytes]:
        self.reads += 1
        if name not in self.held:
            raise Refusal("BackupMissing", "the backup's file is not there", kind="not_found")
        data = self.held[name]
        yield from (data[start : start + 64] for start in range(0, len(data), 64))

    def delete(self, name: str) -> None:
        self.held.pop(name, None)

    def names(self) -> Sequence[str]:
        if self.broken:
            raise Unavailable("BackupStoreUnavailable", "the store of backups does not answer")
        return sorted(self.held)


class EntryTrail:
    """`KeyTrail` over entries."""

    def __init__(self, entries: Callable[[], Sequence[Entry]]) -> None:
        self._entries = entries

    def acts(self, tenancy: str, since: datetime) -> set[tuple[str, str]]:
        """`Usage` of insight."""
        return {
            (entry.principal_id, entry.action)
            for entry in self._entries()
            if entry.tenancy == tenancy and entry.at >= since and entry.outcome != "refused"
        }

    def uses(self, tenancy: str, key: str, since: datetime) -> Sequence[Use]:
        found: dict[tuple[str, str, str], list[Entry]] = {}
        for entry in self._entries():
            if entry.tenancy == tenancy and entry.resource_id == key and entry.at >= since:
                found.setdefault((entry.principal_id, entry.operation, entry.outcome), []).append(entry)
        return [
            Use(
                each[0].principal_id,
                each[0].principal_type,
                each[-1].principal_name,
                each[0].operation,
                each[0].outcome,
                len(each),
                min(entry.at for entry in each),
                max(entry.at for entry in each),
            )
            for each in found.values()
        ]

    def copies(self, tenancy: str, key: str, vault: str, since: datetime) -> Sequence[Copy]:
        found = []
        for kind, operation in COPIES.items():
            resource = {"key-backup": key, "vault-backup": vault}.get(kind)
            entries = [
                entry
                for entry in self._entries()
                if entry.tenancy == tenancy
                and entry.operation == operation
                and entry.outcome == "allowed"
                and entry.at >= since
                and resource in (None, entry.resource_id)
            ]
            if entries:
                found.append(Copy(kind, len(entries), entries[-1].at, entries[-1].principal_name))
        return found
