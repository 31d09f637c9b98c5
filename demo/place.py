"""Where a run lives: one directory of its own, on ports, user ids and a tmpfs directory of its own.

    DIR/demo.json        says that this is a demonstration's directory; what was started, by identity
    DIR/credentials.json every password of the run, mode 0600
    DIR/keys/root.key    the region's key file, outside its state directory
    DIR/state  restored  state directories of the region and of what its backup brought back
    DIR/data   backups   database systems and their backups
    DIR/home             the command line's profiles and tokens

Only one run uses a directory at a time. An earlier run's region is stopped and its files are removed before the next
begins; a directory that is not a demonstration's is never touched.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from demo import processes
from demo.processes import Identity

_MARK = "demo.json"
_PORTS = 8  # for database systems, in a row
_UIDS = 20


class Unusable(Exception):
    """The directory cannot be used; the message says why and what to do."""


def default_directory() -> Path:
    """Where a run lives unless told otherwise: outside the home directory, which database users cannot enter."""
    return Path(tempfile.gettempdir()) / f"keystead-demo-{os.geteuid()}"


class Place:
    """The directory of one run, held while this object is open."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._handle = _hold(self.directory)
        self._seen: dict[Identity, None] = {}
        self.state = self.directory / "state"
        self.restored = self.directory / "restored"
        self.data = self.directory / "data"
        self.backups = self.directory / "backups"
        self.key_file = self.directory / "keys" / "root.key"
        self.credentials_file = self.directory / "credentials.json"
        self.home = self.directory / "home"
        # short: there are sockets in it, whose paths have at most 107 characters
        self._prefix = f"ks-demo-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:8]}-"
        self.memory = Path("/dev/shm") / f"{self._prefix}{os.getpid()}"
        self.credentials: dict[str, str] = {}

    def earlier(self) -> bool:
        """Whether an earlier run left something here."""
        return (self.directory / _MARK).exists()

    def clear(self, stop: Callable[[Path], object]) -> int:
        """Stop what an earlier run left running and remove what it wrote. Returns how many processes there were."""
        left = self._recorded()
        for state in (self.state, self.restored):
            if (state / "run").is_dir():
                stop(state)
        ended = processes.end([*left, *processes.started_in(self.directory)])
        with contextlib.suppress(OSError, ValueError, KeyError):
            memory = Path(json.loads((self.directory / _MARK).read_text())["memory"])
            if memory.parent == self.memory.parent and memory.name.startswith(self._prefix):
                shutil.rmtree(memory, ignore_errors=True)
        for child in self.directory.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()
        return ended

    def lay_out(self) -> None:
        """Fresh directories, in which other users may reach database directories but read nothing else."""
        self.record()
        for directory, mode in ((self.data, 0o711), (self.backups, 0o700), (self.home, 0o700), (self.memory, 0o711)):
            directory.mkdir(mode=mode)
            directory.chmod(mode)
        self.key_file.parent.mkdir(mode=0o700)

    def settings(self) -> list[str]:
        """The settings of a region that stands beside others on this machine."""
        first = _free_ports(_PORTS + 2)
        uid = random.randrange(61000, 65000, _UIDS)
        chosen = {
            "databases.endpoint_port": str(first + 1),
            "databases.ports": f"{first + 2}-{first + 1 + _PORTS}",
            "databases.uids": f"{uid}-{uid + _UIDS - 1}",
            "databases.data_dir": str(self.data),
            "databases.backup_dir": str(self.backups),
            "databases.tmpfs_dir": str(self.memory),
        }
        return ["--port", str(first), *(word for item in chosen.items() for word in ("--set", "=".join(item)))]

    def keep(self, **credentials: str) -> None:
        """Remember passwords, in the file that the user is told of."""
        self.credentials |= credentials
        beside = self.credentials_file.with_suffix(".new")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self.credentials, file, indent=2)
            file.write("\n")
        beside.replace(self.credentials_file)

    def record(self) -> None:
        """Note which processes of this run there are now, so that a later run can end what this one could not."""
        self._seen |= dict.fromkeys(processes.started_in(self.directory))
        told = {"memory": str(self.memory), "processes": [asdict(identity) for identity in self._seen]}
        beside = self.directory / f"{_MARK}.new"
        beside.write_text(json.dumps(told))
        beside.replace(self.directory / _MARK)

    def alive(self) -> int:
        """How many processes of this run there are."""
        self.record()
        return sum(identity.alive() for identity in self._seen)

    def sweep(self) -> int:
        """End every process of this run that still runs. Returns how many did."""
        self.record()
        return processes.end(self._seen)

    def remove(self) -> None:
        """Remove everything that the run wrote."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def close(self) -> None:
        """Let another run have the directory. What lay in memory is gone in any case."""
        shutil.rmtree(self.memory, ignore_errors=True)
        os.close(self._handle)

    def _recorded(self) -> list[Identity]:
        try:
            told = json.loads((self.directory / _MARK).read_text())
            return [_identity(item) for item in told["processes"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []


def _identity(item: Mapping[str, object]) -> Identity:
    return Identity(int(str(item["pid"])), int(str(item["start"])), str(item["boot"]))


def _hold(directory: Path) -> int:
    """Make the directory if need be, and lock it. Raises: Unusable."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o711, parents=True)
        directory.chmod(0o711)
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise Unusable(f"{directory} cannot be used: {error.strerror}; choose another with --dir") from error
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise Unusable(f"{directory} belongs to somebody else; choose another with --dir")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(f"another demonstration is running in {directory}; choose another with --dir") from None
        if any(directory.iterdir()) and not (directory / _MARK).exists():
            raise Unusable(f"{directory} is not empty and no demonstration's; choose another with --dir")
        closed = next((path for path in (directory, *directory.parents) if not path.stat().st_mode & 0o001), None)
        if closed is not None and os.geteuid() == 0:
            raise Unusable(f"{closed} cannot be entered by the users of database systems; choose another with --dir")
    except BaseException:
        os.close(handle)
        raise
    return handle


def _free_ports(count: int) -> int:
    """The first of so many loopback ports in a row that nothing listens on, below those that clients are given."""
    starts = list(range(20000, 32000 - count, count))
    random.shuffle(starts)
    for first in starts:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise Unusable(f"there are not {count} free ports in a row")
