"""The audit trail for people: searched through the index, verified from the segments themselves."""

from pathlib import Path

from keystead.adapters.segment_files import verify_trail
from keystead.adapters.sql.audit_index import AuditIndex
from keystead.adapters.sql.heads import SqlHeads
from keystead.audit.model import Entry
from keystead.audit.query import EntryFilter
from keystead.core.ids import CompartmentId
from keystead.core.page import Page, PageRequest
from keystead.iam.guard import Guard
from keystead.iam.model import Caller, Target
from keystead.web.ports import Verification


class AuditTrail:
    """Entries of the caller's tenancy, and whether the whole trail holds."""

    def __init__(self, guard: Guard, index: AuditIndex, segments: Path, heads: SqlHeads) -> None:
        self._guard = guard
        self._index = index
        self._segments = segments
        self._heads = heads

    def list_entries(self, caller: Caller, wanted: EntryFilter, page: PageRequest) -> Page[Entry]:
        """Newest first. Raises: Refusal."""
        self._permit(caller, "ListAuditEntries")
        return self._index.query(caller.principal.tenancy, wanted, page)

    def verify(self, caller: Caller) -> Verification:
        """Follow every chain through every segment, up to what the state remembers; reads all. Raises: Refusal."""
        self._permit(caller, "VerifyAudit")
        found = verify_trail(self._segments, self._heads.noted())
        problems = tuple(f"{writer.writer}: {problem}" for writer in found.writers for problem in writer.problems)
        return Verification(sum(writer.segments for writer in found.writers), found.entries, problems)

    def _permit(self, caller: Caller, operation: str) -> None:
        tenancy = caller.principal.tenancy
        target = Target("audit-events", tenancy, "audit", tenancy, (CompartmentId(tenancy),))
        self._guard.permit(caller, "AUDIT_EVENT_READ", target, operation)
