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


class StateEvents(Protocol):
    """Word that the region's state is being written: a hint, a little before the change can be read."""

    def fileno(self) -> int:
        """A descriptor that is readable when there is something to be `seen`."""
        ...

    def seen(self) -> bool:
        """Whether the state was written since the last call. Does not block."""
        ...


class AuditTrail(Protocol):
    """The integrated audit log of the caller's tenancy."""

    def list_entries(self, caller: Caller, wanted: EntryFilter, page: PageRequest, /) -> Page[Entry]:
        """Newest first."""
        ...

    def verify(self, caller: Caller, /) -> Verification: ...
