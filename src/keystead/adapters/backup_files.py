"""Backups as files in one directory: whole and durable, or not there.

<id>.ksb        a whole backup
<id>.partial    one that is being written, locked (flock) by whoever writes it; what a killed process left is reused
"""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from keystead.core.errors import Refusal, Unavailable

SUFFIX = ".ksb"
PIECE = 1 << 20
_NAME = re.compile(r"[a-z0-9.-]{1,128}")


class FileBackups:
    """`BackupFiles` in `directory` (made when missing, 0700)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, name: str, chunks: Iterator[bytes]) -> int:
        path = self._path(name)
        partial = _partial(path)
        size = 0
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
                _claim(file.fileno(), partial)
                try:
                    for chunk in chunks:
                        size += file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                    partial.replace(path)
                except BaseException:
                    partial.unlink(missing_ok=True)
                    raise
            self._sync()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise Unavailable(
                "BackupStoreFull" if full else "BackupStoreUnavailable",
                "the disk that holds the backups is full" if full else "the store of backups cannot be written",
                hint="free some space there; the backup is taken again by itself",
            ) from error
        return size

    def read(self, name: str) -> Iterator[bytes]:
        try:
            with self._path(name).open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece
        except FileNotFoundError as error:
            raise Refusal("BackupMissing", "the backup's file is not there", kind="not_found") from error

    def delete(self, name: str) -> None:
        path = self._path(name)
        try:
            _partial(path).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                self._sync()
        except OSError as error:
            raise Unavailable("BackupStoreUnavailable", "the store of backups cannot be written") from error

    def names(self) -> Sequence[str]:
        if not self._directory.is_dir():
            return ()
        return sorted(path.name.removesuffix(SUFFIX) for path in self._directory.glob(f"*{SUFFIX}"))

    def _path(self, name: str) -> Path:
        return backup_file(self._directory, name)

    def _sync(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def backup_file(directory: Path, name: str) -> Path:
    """Where a backup's bytes lie. Raises: Refusal `InvalidId`."""
    if _NAME.fullmatch(name) is None or ".." in name:
        raise Refusal("InvalidId", "not the id of a backup")
    return directory / f"{name}{SUFFIX}"


def _partial(path: Path) -> Path:
    return path.with_suffix(".partial")


def _claim(descriptor: int, partial: Path) -> None:
    """Be the only one who writes. Raises: Unavailable while somebody else does; OSError."""
    busy = Unavailable("BackupBusy", "another process is writing this backup")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise busy from None
    try:
        ours = os.path.samestat(os.fstat(descriptor), partial.stat())
    except FileNotFoundError:
        ours = False
    if not ours:  # whoever had it has just finished: what we hold open is the whole backup
        raise busy
    os.ftruncate(descriptor, 0)
