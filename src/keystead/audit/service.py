"""The audit log of one process: nothing is answered before its entry is durable (law 2).

Order of use: append the entry, do the act, and answer when the receipt (its own or a later barrier's) is done. An
append that raises means that the act must not be done. Acts that take access away pass `reserve=True`.
"""

from keystead.audit.model import Entry
from keystead.audit.ports import Journal, Receipt


class AuditLog:
    """Where services record. Safe from every thread."""

    __slots__ = ("_journal",)

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def append(self, entry: Entry, reserve: bool = False) -> Receipt:
        """Record `entry`; the receipt tells when it is durable.

        Raises:
            Fault: `AuditUnavailable`: it cannot be written; the act must not be done.
        """
        return self._journal.append(entry, reserve)

    def barrier(self) -> Receipt:
        """Done when everything that this process has appended so far is durable; failed when some of it is not."""
        return self._journal.barrier()

    def settle(self) -> None:
        """Write what was only counted, where something is (see strangers)."""
