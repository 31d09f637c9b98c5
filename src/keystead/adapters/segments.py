"""The audit journal of one process: appended from any thread, synced in groups by one.

    append --(lock)--> group --(flusher: encode, write, sync)--> receipt -> waiters and callbacks

All entries taken while the disk is busy form the next group, share its sync and its receipt. Taking one costs a lock
and a list append; the flusher releases the GIL once per group. A journal that gathers is for processes in which a
barrier follows every entry: a group is written when the barrier asks for it, so that all requests of one turn of an
event loop are in it, and the flusher is woken once.

What was taken is written, or the journal says otherwise until it is:

    open     everything is taken
    reserve  no space: only acts that take access away, into the reserve. What had been taken before goes there too
             (if it fits), so its receipts succeed
    shut     the disk fails: nothing is taken. What had been taken waits here; its receipts have failed, and every
             barrier fails

and a probe, every half second, tries to get back to `open`.
"""

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from keystead.adapters.segment_files import SPACE, Disk, SegmentFiles
from keystead.audit.model import Entry
from keystead.core.errors import Fault

SEGMENT_BYTES = 16 * 1024 * 1024
RESERVE_BYTES = 1024 * 1024
PENDING_LIMIT = 16 * 1024
"""Entries that may wait for a disk that does not answer; more are refused."""
PROBE_S = 0.5
GATHER_S = 0.25
"""How long an entry without a barrier may wait in a journal that gathers."""
WRITERS = 256
"""Processes of one name at most."""
SPILL_SHARE = 0.5
"""Of the reserve, what entries taken before the disk was full may use."""

Sync = Literal["synced", "written"]
Mode = Literal["open", "reserve", "shut", "closed"]
Callback = Callable[[Fault | None], None]

_log = logging.getLogger(__name__)


def _unavailable(why: str, hint: str = "the act was not done; it can be tried again") -> Fault:
    return Fault("AuditUnavailable", f"the audit log cannot be written: {why}", hint=hint)


class GroupReceipt:
    """The receipt of a group (`audit.ports.Receipt`)."""

    __slots__ = ("_callbacks", "_lock", "done", "error")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callback] = []
        self.done = False
        self.error: Fault | None = None

    def wait(self, timeout: float | None = None) -> None:
        if not self.done:
            event = threading.Event()
            self.add_done_callback(lambda _error: event.set())
            if not event.wait(timeout):
                raise _unavailable("the disk does not answer")
        if self.error is not None:
            raise Fault(self.error.code, self.error.message, hint=self.error.hint)

    def add_done_callback(self, call: Callback, /) -> None:
        with self._lock:
            if not self.done:
                self._callbacks.append(call)
                return
        call(self.error)

    def settle(self, error: Fault | None) -> None:
        """Decide it; the first time counts."""
        with self._lock:
            if self.done:
                return
            self.error = error
            self.done = True
            callbacks, self._callbacks = self._callbacks, []
        for call in callbacks:
            try:
                call(error)
            except Exception:
                _log.exception("a callback of the audit journal failed")


def _settled(error: Fault | None) -> GroupReceipt:
    receipt = GroupReceipt()
    receipt.settle(error)
    return receipt


class _Group:
    """Entries taken since the last group was. `receipt` is for all of them, `urgent_receipt` for urgent ones."""

    __slots__ = ("entries", "receipt", "rung", "urgent", "urgent_receipt")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.rung = False
        self.urgent: set[int] = set()
        self.receipt = GroupReceipt()
        self.urgent_receipt = GroupReceipt()

    def settle(self, error: Fault | None, urgent_error: Fault | None) -> None:
        self.urgent_receipt.settle(urgent_error)
        self.receipt.settle(error or urgent_error)


class SegmentJournal:
    """`audit.ports.Journal` on segment files. Make it with `open_journal`."""

    def __init__(self, files: SegmentFiles, writer: str, lock_fd: int, probe_s: float, gather: bool = False) -> None:
        self.writer = writer
        self._gather = gather
        self._files = files
        self._lock_fd = lock_fd
        self._probe_s = probe_s
        self._probe_at = 0.0
        self._lock = threading.Lock()
        self._bell = threading.Lock()  # released once for each group that is to be written, and on close
        self._bell.acquire()
        self._group = _Group()
        self._writing: _Group | None = None
        self._backlog: list[Entry] = []
        self._mode: Mode = "open"
        self._why = ""
        self._stopping = False
        try:
            files.ensure_reserve()
        except OSError as error:
            self._leave_open("reserve" if error.errno in SPACE else "shut", error)
        self._flusher = threading.Thread(target=self._run, name="audit-flusher", daemon=True)
        self._flusher.start()

    @property
    def mode(self) -> Mode:
        """What is taken at present."""
        return self._mode

    def append(self, entry: Entry, reserve: bool = False, /) -> GroupReceipt:
        with self._lock:
            if self._mode != "open" and not (reserve and self._mode == "reserve"):
                raise _unavailable(self._why)
            group = self._group
            entries = group.entries
            if len(entries) >= PENDING_LIMIT:
                raise _unavailable("the disk does not keep up")
            entries.append(entry)
            if not self._gather:
                self._ring(group)
            if reserve:
                group.urgent.add(id(entry))
                return group.urgent_receipt
            return group.receipt

    def barrier(self) -> GroupReceipt:
        with self._lock:
            if self._backlog:
                return _settled(_unavailable(self._why))
            if self._group.entries:
                self._ring(self._group)
                return self._group.receipt
            writing = self._writing
        return writing.receipt if writing is not None else _settled(None)

    def close(self, timeout: float | None = 10.0) -> None:
        """Write what was taken, then refuse; the writer's name becomes free."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            self._mode, self._why = "closed", "it is closed"
            self._ring(self._group)
        self._flusher.join(timeout)
        if not self._flusher.is_alive():
            self._files.close()
            os.close(self._lock_fd)

    def _ring(self, group: _Group) -> None:
        """Wake the flusher for this group, once. With the lock held."""
        if not group.rung:
            group.rung = True
            self._bell.release()

    def _run(self) -> None:
        patience = GATHER_S if self._gather else -1
        while not self._stopping or self._group.entries:  # nothing is taken once it stops
            rung = self._bell.acquire(timeout=patience if self._mode == "open" else self._probe_s)
            if self._mode != "open":
                self._probe()
            if rung or self._group.entries:
                self._flush(rung)

    def _flush(self, rung: bool) -> None:
        with self._lock:
            group, self._group = self._group, _Group()
            if group.rung and not rung:
                self._bell.acquire()  # rung since we looked
            self._writing = group
        try:
            error, urgent_error = self._write(group)
        except Exception as failure:
            _log.exception("the audit journal failed")
            error, urgent_error = self._keep(group.entries, OSError(errno.EIO, type(failure).__name__))
        with self._lock:
            self._writing = None
        group.settle(error, urgent_error)

    def _write(self, group: _Group) -> tuple[Fault | None, Fault | None]:
        """Write the group, from the reserve if need be; tell what became of all, and of the urgent entries."""
        entries = group.entries
        fault = None
        try:
            try:
                self._files.write(entries)
            except (ValueError, TypeError):
                _log.exception("what was appended to the audit log is no entry")
                fault = Fault("AuditEntryInvalid", "what was appended to the audit log is no entry")
                things: list[Any] = list(entries)
                entries[:] = [thing for thing in things if isinstance(thing, Entry)]
                self._files.write(entries)
            return fault, fault
        except OSError as error:
            if error.errno not in SPACE or self._mode != "open":
                return self._keep(entries, error)
            return self._spill(group, error)

    def _spill(self, group: _Group, error: OSError) -> tuple[Fault | None, Fault | None]:
        """There is no space: go on in the reserve."""
        self._leave_open("reserve", error)
        urgent = [entry for entry in group.entries if id(entry) in group.urgent]
        others = [entry for entry in group.entries if id(entry) not in group.urgent]
        try:
            self._files.enter_reserve()
            self._files.write(urgent)
            if self._files.fits(others, SPILL_SHARE):
                self._files.write(others)
        except OSError as failure:
            _fault, urgent_fault = self._keep(urgent + others, failure)
            return urgent_fault, urgent_fault if urgent else None
        if others:
            return self._keep(others, error, "reserve")[0], None
        return None, None

    def _keep(self, entries: list[Entry], error: OSError, mode: Mode = "shut") -> tuple[Fault, Fault]:
        """The entries cannot be written now; they wait, and until they are written every barrier fails."""
        with self._lock:
            self._backlog.extend(entries)
        self._leave_open(mode, error)
        fault = _unavailable(self._why)
        return fault, fault

    def _leave_open(self, mode: Mode, error: OSError) -> None:
        _log.error("the audit log cannot be written: %s", error.strerror)
        with self._lock:
            self._why = "no space is left on its disk" if error.errno in SPACE else f"{error.strerror}".lower()
            if not self._stopping:
                self._mode = mode
        self._probe_at = time.monotonic() + self._probe_s

    def _probe(self) -> None:
        """Try to get back to `open`, now and then."""
        if time.monotonic() < self._probe_at:
            return
        self._probe_at = time.monotonic() + self._probe_s
        try:
            self._files.ensure_reserve()
            self._files.ensure_room()
            self._files.write(self._backlog)
        except OSError:
            return
        with self._lock:
            if self._stopping:
                return
            self._mode = "open"
        _log.warning("the audit log can be written again")


def open_journal(
    directory: Path,
    name: str,
    region: str,
    *,
    sync: Sync = "synced",
    segment_bytes: int = SEGMENT_BYTES,
    reserve_bytes: int = RESERVE_BYTES,
    skip_broken: bool = False,
    probe_s: float = PROBE_S,
    gather: bool = False,
    disk: Disk | None = None,
) -> SegmentJournal:
    """A journal for this process in `directory` (made when missing), as writer `<name>-<n>`, n the first that is free.

    A writer's chain is continued by whichever process of its name comes next. `sync`: whether receipts wait for the
    disk (`synced`) or only for the kernel (`written`: what was acknowledged can be lost when the power fails).
    `gather`: a barrier follows every entry, and begins the writing. `skip_broken`: leave chains that were changed as
    they are, for `verify` to show, and begin another.

    Raises:
        Fault: `AuditBroken`: a chain was changed; `AuditUnavailable`: no space, or the disk fails.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for writer, lock_fd in _free_writers(directory, name):
            try:
                files = SegmentFiles(
                    directory,
                    writer,
                    region,
                    synced=sync == "synced",
                    segment_bytes=segment_bytes,
                    reserve_bytes=reserve_bytes,
                    disk=disk or Disk(),
                )
            except Fault as fault:
                os.close(lock_fd)
                if skip_broken and fault.code == "AuditBroken":
                    continue
                raise
            return SegmentJournal(files, writer, lock_fd, probe_s, gather)
    except OSError as error:
        raise _unavailable(str(error.strerror).lower()) from error
    raise _unavailable(f"{WRITERS} processes named {name} write already")


def _free_writers(directory: Path, name: str) -> Iterator[tuple[str, int]]:
    """Names that no living process writes under, each with its lock held."""
    for number in range(1, WRITERS + 1):
        writer = f"{name}-{number}"
        fd = os.open(directory / f"{writer}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        yield writer, fd
