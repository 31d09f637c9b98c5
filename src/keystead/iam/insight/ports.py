"""What insight needs from outside: the resources there are, and what was done."""

from collections.abc import Sequence, Set
from datetime import datetime
from typing import Protocol

from keystead.iam.model import Target


class Resources(Protocol):
    """The resources of a tenancy, as targets."""

    def all(self, tenancy: str) -> Sequence[Target]: ...


class Usage(Protocol):
    """What the audit trail knows of use."""

    def acts(self, tenancy: str, since: datetime) -> Set[tuple[str, str]]:
        """Every (principal id, permission) that was allowed since then."""
        ...
