"""Backup and restore of a region's own state."""

from collections.abc import Iterator

from keystead.core.clock import Clock
from keystead.core.secret import Secret
from keystead.iam.guard import Guard
from keystead.iam.model import Caller
from keystead.server.settings import Effective


class StateBackup:
    """Makes backups."""

    def __init__(self, guard: Guard, effective: Effective, key: Secret, clock: Clock) -> None:
        self._guard = guard

    def backup(self, caller: Caller) -> Iterator[bytes]:
        raise NotImplementedError
