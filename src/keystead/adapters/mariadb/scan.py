"""What is on disk, read from the disk: for every file of a system, whether it is encrypted, under which data-key
versions, and whether a canary shows.

Nothing is believed that the server says, nothing is opened by following a link, and a file of an unknown kind counts
as a leak. What is readable by design is listed with its reason, so that nobody is surprised. A running server may be
scanned; files that vanish meanwhile are left out.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

from keystead.adapters.mariadb.datadir import filesystem_type
from keystead.databases import pages
from keystead.databases.pages import Tally

Where = Literal["data", "temporary", "log", "backup"]
CHUNK = 1 << 20
_CHECKED = 16 << 20  # bytes of each tablespace whose bodies are checked; the others' headers are still read
_STREAM_MAGIC = b"KSS\x01"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NAMES = "names of tables and columns, comments and defaults; no rows"
_BY_SUFFIX: Mapping[str, tuple[str, str]] = {
    ".frm": ("definition", f"{_NAMES}; texts of views"),
    ".par": ("definition", "names of partitions"),
    ".TRG": ("definition", "texts of triggers; no rows"),
    ".TRN": ("definition", "names of triggers"),
    ".cfg": ("definition", f"{_NAMES}; there only while a table is flushed for export"),
    ".index": ("list", "names of log files"),
    ".state": ("list", "positions in the binary log"),
    ".pid": ("list", "a process id"),
}
_BY_NAME: Mapping[str, tuple[str, str]] = {
    "db.opt": ("definition", "a schema's character set and comment"),
    "ib_buffer_pool": ("list", "numbers of the pages that were in memory"),
    "ddl_recovery.log": ("list", "names of tables being changed"),
    "ddl_recovery-backup.log": ("list", "names of tables being changed"),
    "multi-master.info": ("list", "names of replication connections"),
    "mysql_upgrade_info": ("list", "a version number"),
    "aria_log_control": ("list", "positions in the log of Aria tables"),
    "xtrabackup_info": ("list", "times and positions of a backup"),
    "mariadb_backup_info": ("list", "times and positions of a backup"),
    "xtrabackup_checkpoints": ("list", "positions of a backup"),
    "mariadb_backup_checkpoints": ("list", "positions of a backup"),
    "xtrabackup_binlog_info": ("list", "positions in the binary log"),
    "mariadb_backup_binlog_info": ("list", "positions in the binary log"),
    "xtrabackup_binlog_pos_innodb": ("list", "positions in the binary log"),
    "backup-my.cnf": ("list", "the key endpoint's address, no token"),
}
_ARIA_LOG = "log of Aria tables, of which there are none: no rows"


@dataclass(frozen=True, slots=True)
class FileFinding:
    """One file. `path` is relative to its root; `key_versions` maps a data-key version to how many pages it protects
    (for logs: 1). Version 0 is a key that lives in memory only (temporary tablespace). `readable` is the reason why it
    is in clear by design, else empty. `plain_pages` should be encrypted and are not. `canaries` counts hits.
    """

    where: Where
    path: str
    kind: str
    size: int
    encrypted: bool
    readable: str = ""
    key_id: int = 0
    key_versions: Mapping[int, int] = field(default_factory=dict)
    plain_pages: int = 0
    canaries: int = 0
    copies: Mapping[int, int] = field(default_factory=dict)

    @property
    def leaks(self) -> bool:
        """Whether something is in clear on a disk that should not be."""
        in_memory = self.where == "temporary" and bool(self.readable)
        return (not self.encrypted and not self.readable) or (self.canaries > 0 and not in_memory)


@dataclass(frozen=True, slots=True)
class Report:
    """All files of a scan, in a stable order."""

    files: tuple[FileFinding, ...]
    bytes_read: int

    @property
    def holds(self) -> bool:
        """Whether everything at rest is encrypted but what is readable by design."""
        return not self.leaks

    @property
    def leaks(self) -> tuple[FileFinding, ...]:
        return tuple(found for found in self.files if found.leaks)

    @property
    def readable(self) -> tuple[FileFinding, ...]:
        """What is in clear by design."""
        return tuple(found for found in self.files if found.readable and not found.encrypted)

    def versions(self) -> dict[int, tuple[str, ...]]:
        """Which files still hold something under which data-key version."""
        needed: dict[int, list[str]] = {}
        for found in self.files:
            for version in found.key_versions:
                if version:
                    needed.setdefault(version, []).append(found.path)
            for version in found.copies:
                needed.setdefault(version, []).append(f"{found.path} (doublewrite area)")
        return {version: tuple(paths) for version, paths in sorted(needed.items())}


def scan(
    data: Path,
    *,
    temporary: Sequence[Path] = (),
    logs: Sequence[Path] = (),
    backups: Sequence[Path] = (),
    canaries: Sequence[bytes] = (),
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Read every file below `data` and the other roots (directories or files); `progress` is told bytes read so far.

    Raises:
        OSError: a root cannot be read at all.
    """
    reader = _Reader(canaries, progress)
    found: list[FileFinding] = []
    roots: tuple[tuple[Where, Sequence[Path]], ...] = (
        ("data", (data,)),
        ("temporary", temporary),
        ("log", logs),
        ("backup", backups),
    )
    for where, places in roots:
        for root in places:
            in_memory = where == "temporary" and filesystem_type(root) == "tmpfs"
            for file in _files(root):
                finding = reader.file(where, file, in_memory)
                if finding is not None:
                    found.append(finding)
    return Report(tuple(_judge_aria_log(found)), reader.read)


def binlog_versions(data: Path) -> dict[str, int]:
    """The data-key version of each binary or relay log in `data` (0: in clear), by file name."""
    versions: dict[str, int] = {}
    for name in sorted(os.listdir(data)):
        if re.fullmatch(r".+\.\d{6,}", name) and (header := pages.binlog_header(_head(data / name, 1024))) is not None:
            versions[name] = header.key_version
    return versions


def redo_version(data: Path) -> int:
    """The data-key version of the redo log in `data` (0: in clear)."""
    header = pages.redo_header(_head(data / "ib_logfile0", 64))
    return header.key_version if header else 0


def _head(path: Path, size: int) -> bytes:
    """The first bytes of a regular file; nothing of what is another thing, a link for example."""
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return b""
    with open(descriptor, "rb") as stream:
        return stream.read(size) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


@dataclass(frozen=True, slots=True)
class _File:
    """What stands in a directory that is held open by `directory`. `path` is relative to the root of the walk."""

    directory: int
    name: str
    path: str

    def status(self) -> os.stat_result:
        return os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)


def _files(root: Path) -> Iterator[_File]:
    """Everything but directories at or below `root`, in a stable order; one is good until the next is asked for.

    The directories belong to others, who may put a link in the place of one at any time: each is entered from the one
    that holds it, by descriptor, so that no path is ever followed twice.
    """
    is_tree = root.is_dir()
    descriptor = os.open(root if is_tree else root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _walk(descriptor, "") if is_tree else (_File(descriptor, root.name, root.name),)
    finally:
        os.close(descriptor)


def _walk(directory: int, prefix: str) -> Iterator[_File]:
    inner = []
    for name in sorted(os.listdir(directory)):
        file = _File(directory, name, prefix + name)
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(file.status().st_mode):
                inner.append(file)
            else:
                yield file
    for file in inner:
        try:
            descriptor = os.open(file.name, _READ | os.O_DIRECTORY, dir_fd=directory)
        except FileNotFoundError:
            continue
        except OSError:  # a link by now: to be reported as one
            yield file
            continue
        try:
            yield from _walk(descriptor, f"{file.path}/")
        finally:
            os.close(descriptor)


def _judge_aria_log(found: list[FileFinding]) -> Iterator[FileFinding]:
    """An Aria log is harmless only where there is no Aria table."""
    aria = any(finding.kind == "Aria table" and finding.where == "data" for finding in found)
    for finding in found:
        yield replace(finding, readable="") if aria and finding.kind == "Aria log" else finding


class _Reader:
    """Reads files once, looking for canaries on the way."""

    def __init__(self, canaries: Sequence[bytes], progress: Callable[[int], None] | None) -> None:
        self._pattern = re.compile(b"|".join(re.escape(word) for word in canaries)) if canaries else None
        self._overlap = max((len(word) for word in canaries), default=1) - 1
        self._progress = progress
        self._hits = 0
        self.read = 0

    def file(self, where: Where, file: _File, in_memory: bool) -> FileFinding | None:
        try:
            descriptor = os.open(file.name, _READ, dir_fd=file.directory)
        except FileNotFoundError:
            return None
        except OSError as error:  # a link or a socket (ENXIO): nothing of it is read
            link = error.errno == errno.ELOOP
            return FileFinding(where, file.path, "link" if link else "socket", 0, False, "" if link else "not a file")
        with open(descriptor, "rb", buffering=0) as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return FileFinding(where, file.path, "socket", 0, False, "not a file")
            self._hits = 0
            blank = FileFinding(where, file.path, "empty", status.st_size, False, "empty")
            if status.st_size == 0:
                return blank
            finding = self._judge(blank, stream, file.name)
            for _ in self._chunks(stream):  # whatever the judge left unread
                pass
        if in_memory:
            finding = replace(finding, kind="temporary", readable="in memory (tmpfs), never on a disk")
        return replace(finding, canaries=self._hits)

    def _chunks(self, stream: BinaryIO) -> Iterator[bytes]:
        tail = b""
        while chunk := stream.read(CHUNK):
            self.read += len(chunk)
            if self._pattern is not None:
                hits = sum(1 for _ in self._pattern.finditer(chunk))
                hits += sum(1 for _ in self._pattern.finditer(tail + chunk[: self._overlap])) if tail else 0
                self._hits += hits
                tail = chunk[-self._overlap :] if self._overlap else b""
            if self._progress is not None:
                self._progress(self.read)
            yield chunk

    def _judge(self, blank: FileFinding, stream: BinaryIO, name: str) -> FileFinding:
        match blank.where:
            case "log":
                return replace(blank, kind="server log", readable="messages of the server; no statements, no rows")
            case "backup":
                return self._backup(blank, stream)
            case "data" | "temporary":
                return self._data(blank, stream, name)

    def _data(self, blank: FileFinding, stream: BinaryIO, name: str) -> FileFinding:
        suffix = Path(name).suffix
        if suffix == ".ibd" or re.fullmatch(r"ibdata\d+|undo\d+|ibtmp\d+", name):
            return self._tablespace(blank, stream, name)
        if name.startswith("ib_logfile"):
            return self._log(blank, stream, "redo log", pages.redo_header)
        if suffix in (".MAD", ".MAI"):
            tally = pages.tally_aria(self._chunks(stream), index=suffix == ".MAI")
            return _tallied(replace(blank, kind="Aria table"), tally)
        if re.fullmatch(r"aria_log\.\d+", name):
            return replace(blank, kind="Aria log", readable=_ARIA_LOG)
        if known := _BY_NAME.get(name) or _BY_SUFFIX.get(suffix):
            return replace(blank, kind=known[0], readable=known[1])
        if re.fullmatch(r".+\.\d{6,}", name):
            return self._log(blank, stream, "binary log", pages.binlog_header)
        return replace(blank, kind="unknown", readable="")

    def _tablespace(self, blank: FileFinding, stream: BinaryIO, name: str) -> FileFinding:
        temporary = name.startswith("ibtmp")
        kind = "temporary tablespace" if temporary else "tablespace"
        every = max(1, blank.size // _CHECKED)
        tally = pages.tally_tablespace(self._chunks(stream), temporary=temporary, every=every)
        if tally is None:
            return replace(blank, kind=kind, readable="")
        return _tallied(replace(blank, kind=kind), tally)

    def _log(
        self,
        blank: FileFinding,
        stream: BinaryIO,
        kind: str,
        read: Callable[[bytes], pages.LogHeader | None],
    ) -> FileFinding:
        first = next(self._chunks(stream), b"")
        header = read(first[:1024])
        encrypted = header is not None and header.encrypted
        versions = {header.key_version: 1} if header is not None and header.encrypted else {}
        return replace(blank, kind=kind, readable="", encrypted=encrypted, key_versions=versions)

    def _backup(self, blank: FileFinding, stream: BinaryIO) -> FileFinding:
        """Our encrypted stream: its header is readable by design, every chunk after it must look random."""
        encrypted = True
        for number, chunk in enumerate(self._chunks(stream)):
            if number == 0:
                encrypted = chunk[:4] == _STREAM_MAGIC
            body = chunk if number else chunk[min(len(chunk) // 2, 65536) :]
            encrypted = encrypted and pages.looks_random(body[:65536])
        return replace(blank, kind="backup", readable="", encrypted=encrypted)


def _tallied(blank: FileFinding, tally: Tally) -> FileFinding:
    return replace(
        blank,
        readable="",
        encrypted=tally.plain == 0,
        key_id=tally.key_id,
        key_versions=dict(sorted(tally.versions.items())),
        plain_pages=tally.plain,
        copies=dict(sorted(tally.copies.items())),
    )


def total_size(paths: Iterable[Path]) -> int:
    """Bytes of all files below `paths`, to show progress against."""
    total = 0
    for root in paths:
        for file in _files(root):
            with contextlib.suppress(FileNotFoundError):
                total += file.status().st_size
    return total
