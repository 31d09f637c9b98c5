"""Services that live outside the domain packages, as the HTTP faces call them."""

from dataclasses import dataclass
from typing import Protocol

from keystead.audit.model import Entry
from keystead.audit.query import EntryFilter
from keystead.core.page import Page, PageRequest
from keystead.iam.model import Caller


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking every segment's chain found. Intact when `problems` is empty."""

    segments: int
    entries: int
    problems: tuple[str, ...] = ()


class AuditTrail(Protocol):
    """The integrated audit log of the caller's tenancy."""

    def list_entries(self, caller: Caller, wanted: EntryFilter, page: PageRequest, /) -> Page[Entry]:
        """Newest first."""
        ...

    def verify(self, caller: Caller, /) -> Verification: ...
