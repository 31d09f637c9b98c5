"""One writer's segment files: made ahead, written in place, synced, rolled, and read back.

    <writer>.<number>.seg    segments (audit/segment.py draws them), filled with NULs up to their size
    <writer>.spare           the next segment, being made
    <writer>.reserve         space kept for acts that take access away; becomes a segment when the disk is full
    <writer>.lock            held (flock) by the process that writes

Space is written with NULs and synced beforehand, so that a group's write changes no metadata and costs the disk one
flush. A segment appears under its name only with its header durable. Invariants: what `write` has returned for is
durable (with `synced`); after an error the chain stands where it stood, and whatever lies behind its end is overwritten
or cut before anything else is written.
"""

import contextlib
import errno
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from keystead.audit.model import Entry, Head
from keystead.audit.segment import (
    GENESIS,
    GROUP_LIMIT,
    LINE_LIMIT,
    Broken,
    Encoder,
    Header,
    encode_header,
    open_segment,
    scan,
    start,
)
from keystead.audit.verify import TrailReport, check_writer, summarize
from keystead.core.errors import Fault

SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors that mean: no room. The reserve is for these."""

LEAVE_BYTES = 8 * 1024 * 1024

_NAME = re.compile(r"([a-z0-9][a-z0-9-]{0,62})\.(\d{8})\.seg")
_PIECE = bytes(1024 * 1024)
_GROUP_ENTRIES = 1024
_HEADER_ROOM = 1024
_WIPE = bytes(512)  # behind a header: over the longer header of an attempt that failed


class Disk:
    """The few calls that can fail for want of space or a dying disk. Tests put failures in here.

    `leave` bytes of the disk are not for segments: the state needs some to write that access was taken away.
    """

    def __init__(self, leave: int = LEAVE_BYTES) -> None:
        self._leave = leave

    def allocate(self, path: Path, size: int) -> None:
        """Make `path` with `size` durable NULs. Raises: OSError, and then nothing is left behind."""
        room = os.statvfs(path.parent)
        if room.f_bavail * room.f_frsize < size + self._leave:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            done = 0
            while done < size:
                done += os.write(fd, _PIECE[: size - done])
            os.fsync(fd)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(fd)

    def write(self, fd: int, data: bytes, offset: int, synced: bool) -> None:
        """Write all of `data`; with `synced` it is durable afterwards. One system call, one release of the GIL."""
        flags = os.RWF_DSYNC if synced else 0
        done = os.pwritev(fd, [data], offset, flags)
        while done < len(data):
            done += os.pwritev(fd, [memoryview(data)[done:]], offset + done, flags)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)
        os.fdatasync(fd)


def sync_directory(directory: Path) -> None:
    """Make renames in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class SegmentFiles:
    """Writes one writer's segments. One thread at a time."""

    def __init__(
        self,
        directory: Path,
        writer: str,
        region: str,
        *,
        synced: bool,
        segment_bytes: int,
        reserve_bytes: int,
        disk: Disk,
    ) -> None:
        """Open the writer's last segment (its torn end is cut), or make its first.

        Raises:
            Fault: `AuditBroken`: the segments were changed; `AuditUnavailable`: no space, or the disk fails.
        """
        self._directory = directory
        self._writer = writer
        self._region = region
        self._synced = synced
        self._segment_bytes = segment_bytes
        self._reserve_bytes = reserve_bytes
        self._disk = disk
        self._encoder = Encoder(writer)
        self._spare = directory / f"{writer}.spare"
        self._reserve = directory / f"{writer}.reserve"
        self._spare_ready = False
        self._maker: threading.Thread | None = None
        self._fd = -1
        self._number = 0
        self._end = 0
        self._size = 0
        self._soiled = False
        self.head = Head(0, GENESIS)
        try:
            self._spare.unlink(missing_ok=True)
            numbers = [number for number, _path in list_segments(directory).get(writer, ())]
            if numbers:
                self._reopen(numbers)
            else:
                self._roll(0)
        except OSError as error:
            raise Fault("AuditUnavailable", f"the audit log cannot be opened: {error.strerror}") from error

    def has_reserve(self) -> bool:
        """Whether the reserve is there."""
        return self._reserve.exists()

    def ensure_reserve(self) -> None:
        """Make the reserve when it is not there (or was begun to be used by a process that died). Raises: OSError."""
        if self.has_reserve() and not self._reserve.read_bytes().strip(b"\0"):
            return
        made = self._directory / f"{self._writer}.reserve-new"
        self._disk.allocate(made, self._reserve_bytes)
        made.rename(self._reserve)
        sync_directory(self._directory)

    def ensure_room(self) -> None:
        """Have room for ordinary entries: in this segment, or a spare one. Raises: OSError."""
        if self._size - self._end < LINE_LIMIT and not self._has_spare():
            self._disk.allocate(self._spare, self._segment_bytes)
            self._spare_ready = True

    def write(self, entries: list[Entry]) -> None:
        """Write `entries`, taking each out of the list once it is durable.

        Raises:
            OSError: what is left in the list is not written.
            ValueError, TypeError: something left in the list is no entry.
        """
        count = _GROUP_ENTRIES
        while entries:
            group = entries[:count]
            lines, head = self._encoder.encode(group, self.head)
            size = sum(map(len, lines))
            if size > GROUP_LIMIT and len(group) > 1:
                count = len(group) // 2
                continue
            if self._end + size > self._size:
                self._roll(size)
                continue
            self._soiled = True
            self._disk.write(self._fd, b"".join(lines), self._end, self._synced)
            self._soiled = False
            self._end += size
            self.head = head
            del entries[: len(group)]
        if not self._spare_ready and self._maker is None and self._end > self._size // 2:
            self._maker = threading.Thread(target=self._make_spare, name="audit-spare", daemon=True)
            self._maker.start()

    def fits(self, entries: Sequence[Entry], share: float) -> bool:
        """Whether `entries` take no more than `share` of the room left."""
        lines, _head = self._encoder.encode(entries, self.head)
        return sum(map(len, lines)) <= (self._size - self._end) * share

    def enter_reserve(self) -> None:
        """Go on in the reserve. Raises: OSError: there is none, or it cannot be used."""
        self._enter(self._reserve)

    def close(self) -> None:
        """Close the segment; its unused space stays for the next process."""
        if self._maker is not None:
            self._maker.join()
        os.close(self._fd)

    def _reopen(self, numbers: list[int]) -> None:
        last = numbers[-1]
        path = segment_path(self._directory, self._writer, last)
        before = self._head_after(last - 1) if last > 1 else Head(0, GENESIS)
        data = path.read_bytes()
        try:
            header, after, begin = open_segment(data)
        except Broken as error:
            raise self._broken(str(error)) from error
        if (header.writer, header.number, header.region, header.head) != (self._writer, last, self._region, before):
            raise self._broken(f"segment {last} does not continue the one before it")
        found = scan(data[begin:], self._writer, after)
        if found.state == "broken":
            raise self._broken(f"segment {last}: {found.problem}")
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._number, self._end, self._size, self.head = last, begin + found.end, len(data), found.head
        if found.state == "torn":
            torn = len(data.rstrip(b"\0")) - self._end
            self._disk.write(self._fd, bytes(torn), self._end, True)

    def _head_after(self, number: int) -> Head:
        """The chain at the end of a segment before the last."""
        try:
            data = segment_path(self._directory, self._writer, number).read_bytes()
            _header, after, begin = open_segment(data)
        except (FileNotFoundError, Broken) as error:
            raise self._broken(f"segment {number} is missing or unreadable") from error
        return scan(data[begin:], self._writer, after).head

    def _broken(self, what: str) -> Fault:
        return Fault(
            "AuditBroken",
            f"the audit log of writer {self._writer} was changed: {what}",
            hint="keep a copy of it and run `keystead audit verify`",
        )

    def _roll(self, needed: int) -> None:
        """Go on in a new segment with room for `needed` bytes."""
        size = max(self._segment_bytes, needed + _HEADER_ROOM)
        if not (self._has_spare() and size == self._segment_bytes):
            self._disk.allocate(self._spare, size)
        self._spare_ready = False
        self._enter(self._spare)

    def _enter(self, made: Path) -> None:
        """Make `made`, a file of NULs, the next segment: its header durable first, then its name."""
        if self._soiled:
            self._disk.truncate(self._fd, self._end)
            self._soiled = False
            self._size = self._end
        header = Header(self._region, self._writer, self._number + 1, self.head)
        line = encode_header(header)
        fd = os.open(made, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._disk.write(fd, line + b"\n" + _WIPE, 0, True)
            made.rename(segment_path(self._directory, self._writer, header.number))
            sync_directory(self._directory)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # only gives unused space back
                os.ftruncate(self._fd, self._end)
            os.close(self._fd)
        self._fd, self._number, self._size = fd, header.number, os.fstat(fd).st_size
        self._end, self.head = len(line) + 1, start(line, header)

    def _has_spare(self) -> bool:
        if self._maker is not None:
            self._maker.join()
            self._maker = None
        return self._spare_ready

    def _make_spare(self) -> None:
        with contextlib.suppress(OSError):  # tried again, and reported, when the segment is full
            self._disk.allocate(self._spare, self._segment_bytes)
            self._spare_ready = True


def segment_path(directory: Path, writer: str, number: int) -> Path:
    """Where a segment lies."""
    return directory / f"{writer}.{number:08d}.seg"


def list_segments(directory: Path) -> dict[str, list[tuple[int, Path]]]:
    """The segments of every writer, oldest first."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for entry in os.scandir(directory):
        if named := _NAME.fullmatch(entry.name):
            found.setdefault(named[1], []).append((int(named[2]), Path(entry.path)))
    return {writer: sorted(found[writer]) for writer in sorted(found)}


def verify_trail(directory: Path, known: Mapping[str, Head] | None = None) -> TrailReport:
    """Check every chain in `directory`, and that it contains the `known` heads of its writers; reads all of it.

    Raises:
        OSError: a segment cannot be read.
    """
    heads = known or {}
    found = list_segments(directory)
    return summarize(
        check_writer(writer, _contents(found.get(writer, [])), heads.get(writer))
        for writer in sorted(found.keys() | heads.keys())
    )


def _contents(segments: list[tuple[int, Path]]) -> Iterator[tuple[int, bytes]]:
    for number, path in segments:
        yield number, path.read_bytes()


def hash_at(directory: Path, writer: str, sequence: int) -> str | None:
    """The hash of the line of one entry, or None when the writer's (unbroken) segments do not have it."""
    for _number, path in reversed(list_segments(directory).get(writer, [])):
        data = path.read_bytes()
        try:
            header, after, begin = open_segment(data)
        except Broken:
            return None
        if header.head.sequence < sequence:
            found = scan(data[begin:], writer, after, until=sequence)
            return found.head.hash if found.head.sequence == sequence else None
    return None
