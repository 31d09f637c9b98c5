"""What the audit log needs from outside: a journal that keeps lines, and receipts for them."""

from collections.abc import Callable
from typing import Protocol

from keystead.audit.model import Entry
from keystead.core.errors import Fault


class Receipt(Protocol):
    """A promise that entries are durable, shared by all that are written together."""

    @property
    def done(self) -> bool:
        """Whether it is decided, well or not."""
        ...

    def wait(self, timeout: float | None = None) -> None:
        """Block until the entries are durable; `timeout` in seconds.

        Raises:
            Fault: `AuditUnavailable`: they could not be written, or not in time.
        """
        ...

    def add_done_callback(self, call: Callable[[Fault | None], None], /) -> None:
        """Have `call` told once, with None or the error: at once when decided, else from the journal's own thread.

        It must be short and must not block: the next entries wait for it.
        """
        ...


class Journal(Protocol):
    """An append-only record of one process, synced in groups."""

    def append(self, entry: Entry, reserve: bool = False, /) -> Receipt:
        """Take an entry; cheap, never waits for the disk. What was taken is written, in this order or not at all.

        `reserve`: the act takes access away, so that it may use the space kept for that when the disk is full.

        Raises:
            Fault: `AuditUnavailable`: nothing can be written at present; the act must not be done.
        """
        ...

    def barrier(self) -> Receipt:
        """Done when everything taken so far is durable; failed when some of it is not."""
        ...
