"""What the index of the audit trail tells of a key: `KeyTrail`.

Calls are counted as their entries are integrated (audit_index.py), per key, principal, operation, outcome and day, so
that asking costs in proportion to the answer and not to the trail.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from keystead.adapters.sql.audit_index import AuditIndex
from keystead.audit.query import EntryFilter
from keystead.core.page import PageRequest
from keystead.vault.insight.inventory import Copy, CopyKind
from keystead.vault.insight.usage import Use

COPIES: Mapping[CopyKind, str] = {
    "key-backup": "BackUpKey",
    "vault-backup": "BackUpVault",
    "state-backup": "BackUpState",
}
MOST = 1000


class IndexedKeyTrail:
    """`KeyTrail` on the index."""

    def __init__(self, index: AuditIndex) -> None:
        self._index = index

    def uses(self, tenancy: str, key: str, since: datetime) -> Sequence[Use]:
        return self._index.calls(tenancy, key, since)

    def copies(self, tenancy: str, key: str, vault: str, since: datetime) -> Sequence[Copy]:
        found = []
        for kind, operation in COPIES.items():
            resource = {"key-backup": key, "vault-backup": vault}.get(kind, "")
            if kind == "vault-backup" and not vault:
                continue
            wanted = EntryFilter(action=operation, resource=resource, outcome="allowed", since=since)
            entries = self._index.query(tenancy, wanted, PageRequest(MOST)).items
            if entries:
                last = entries[0]
                found.append(Copy(kind, len(entries), last.at, last.principal_name))
        return found
