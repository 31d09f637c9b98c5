"""What approvals and break glass keep."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from keystead.core.page import PageRequest
from keystead.iam.approvals.model import BreakGlass, How


class ApprovalRows(Protocol):
    """Their rows in one transaction. Updates are compare-and-set and say whether they took place."""

    def add_break_glass(self, begun: BreakGlass) -> None: ...
    def break_glass(self, tenancy: str, break_glass_id: str) -> BreakGlass | None: ...
    def break_glasses(self, tenancy: str, group: str | None, page: PageRequest) -> Sequence[BreakGlass]:
        """Newest first; one more than asked for."""
        ...

    def open_break_glass(self, tenancy: str, group: str, user: str) -> BreakGlass | None:
        """The one that nothing has ended yet, its moment apart."""
        ...

    def due_break_glasses(self, now: datetime) -> Sequence[BreakGlass]:
        """Those whose moment has come and whose end is not written down."""
        ...

    def end_break_glass(self, found: BreakGlass, at: datetime, by: str, how: How) -> bool: ...
