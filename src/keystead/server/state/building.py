"""Making a state directory whole or not at all: built beside its place, made visible by one rename.

What must lie outside (key file, credentials) is written just before the rename and noted inside first, so that the next
attempt takes away what an interrupted one left, byte for byte what it wrote and nothing else.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from keystead.core.errors import Refusal
from keystead.server.process.locks import Lock
from keystead.server.sealing.unseal import SEAL_NAME
from keystead.server.settings import FILE_NAME

PENDING: Final = "pending.json"
DIRECTORIES: Final = ("audit", "host", "run", "log", "data", "backups")
STATE_MODE: Final = 0o711
"""Database servers run under other uids and must get through to their own directories; they can list nothing."""


class Building:
    """A state directory being made. `directory` is where its content goes."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.directory = state.with_name(f".{state.name}.new")

    def lay_out(self) -> None:
        """Make the empty directories."""
        self.directory.mkdir(mode=0o700)
        for name in DIRECTORIES:
            (self.directory / name).mkdir(mode=0o700)
        (self.directory / "data").chmod(STATE_MODE)

    def write_outside(self, contents: Mapping[Path, tuple[bytes, int]]) -> None:
        """Write files (content and mode) that lie elsewhere. Never replaces one that is there."""
        noted = {str(path): hashlib.sha256(content).hexdigest() for path, (content, _) in contents.items()}
        write(self.directory / PENDING, json.dumps(noted).encode())
        for path, (content, mode) in contents.items():
            make_parents(path.parent, 0o700)
            beside = _beside(path)
            write(beside, content, mode)
            os.link(beside, path)  # unlike a rename it never replaces another's file
            beside.unlink()
            sync(path.parent)

    def publish(self) -> None:
        """Make it visible: sync everything, then one rename."""
        for directory, _, _ in os.walk(self.directory):
            sync(Path(directory))
        self.directory.chmod(STATE_MODE)
        if self.state.exists():
            self.state.rmdir()
        self.directory.rename(self.state)
        sync(self.state.parent)
        (self.state / PENDING).unlink(missing_ok=True)  # only now: before, it tells what to sweep away

    def sweep(self) -> None:
        """Take away what an attempt left that never became visible."""
        if not self.directory.exists():
            return
        try:
            noted = json.loads((self.directory / PENDING).read_bytes())
        except (OSError, ValueError):
            noted = {}
        for name, digest in noted.items():
            path = Path(name)
            _beside(path).unlink(missing_ok=True)
            if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
                path.unlink()
        shutil.rmtree(self.directory)


@contextmanager
def building(state: Path, what: str) -> Iterator[Building]:
    """Build a state directory at `state`; nothing is left when it does not come to `publish`.

    Raises:
        Refusal: `RegionExists`, `NotEmpty`, `AlreadyRunning`.
    """
    make_parents(state.parent, 0o755)
    made = Building(state)
    with Lock(state.with_name(f".{state.name}.lock"), what) as lock:
        _check_absent(state)
        made.sweep()
        try:
            yield made
        except BaseException:
            made.sweep()
            raise
        finally:
            lock.path.unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """A new file, durable. Raises: FileExistsError."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_parents(directory: Path, mode: int) -> None:
    """Make what is missing, with just this mode: our umask is narrower than others may pass through."""
    if not directory.exists():
        make_parents(directory.parent, 0o755)
        directory.mkdir()
        directory.chmod(mode)


def _check_absent(state: Path) -> None:
    if (state / FILE_NAME).exists() or (state / SEAL_NAME).exists():
        raise Refusal(
            "RegionExists",
            f"there is a region in {state} already; nothing was changed",
            hint="start it with `keystead up`, or choose another directory",
            kind="conflict",
        )
    if state.exists() and (not state.is_dir() or any(state.iterdir())):
        raise Refusal("NotEmpty", f"{state} is not an empty directory", hint="choose another one")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.keystead-new")
