"""Operating-system processes held safely: started confined, adopted again, killed without hitting a stranger.

A process is named by its `Identity`: pid, start time (field 22 of /proc/<pid>/stat, clock ticks since boot) and boot
id; a pid alone may be another's tomorrow. Signals go through a pidfd that was opened first and checked against the
start time afterwards, so they reach that very process or nobody. Ends are noticed through the pidfd, also of processes
that are not our children.

A child is started in its own session, under its system's uid and gid without other groups, with an environment of
PATH, LANG and what it is given, no core dumps (hard limit 0), no new privileges, its standard input closed.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from keystead.core.errors import Fault, Refusal

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONFINE = ("/usr/bin/setpriv", "--no-new-privs", "/usr/bin/prlimit", "--core=0:0")


@dataclass(frozen=True, slots=True)
class Owner:
    """The uid and gid that a system's processes and files belong to."""

    uid: int
    gid: int

    @classmethod
    def ours(cls) -> "Owner":
        """Whoever runs this process."""
        return cls(os.getuid(), os.getgid())


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process: unique on this machine, for ever. Its text form is `<pid>:<start ticks>:<boot id>`."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """The identity of the process that has `pid` now; None when there is none (a zombie counts as none)."""
        found = _stat(pid)
        return None if found is None else cls(pid, found, _boot_id())

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """From its text form.

        Raises:
            ValueError: it is not one.
        """
        pid, started, boot = text.split(":")
        return cls(int(pid), int(started), boot)

    def __str__(self) -> str:
        return f"{self.pid}:{self.started}:{self.boot}"

    def is_alive(self) -> bool:
        """Whether this very process still runs (not gone, not a zombie, not a stranger with its pid)."""
        return self.boot == _boot_id() and _stat(self.pid) == self.started


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> int | None:
    """Start time in ticks of a live process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the command in parentheses may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


class Process:
    """A process that we may wait for and end. Close it (or use `with`) to release its pidfd; that ends nothing."""

    def __init__(self, identity: Identity, pidfd: int, popen: "subprocess.Popen[bytes] | None" = None) -> None:
        self.identity = identity
        self._pidfd = pidfd
        self._popen = popen

    @classmethod
    def adopt(cls, identity: Identity) -> "Process | None":
        """Hold a process that somebody (perhaps we, in an earlier life) started; None when it is gone."""
        try:
            pidfd = os.pidfd_open(identity.pid)
        except (ProcessLookupError, OSError):
            return None
        if not identity.is_alive():  # after opening: were the pid another's already, the identity would not match now
            os.close(pidfd)
            return None
        return cls(identity, pidfd)

    @classmethod
    def of_child(cls, popen: "subprocess.Popen[bytes]") -> "Process":
        """Hold a child that was just started; it has not been waited for, so its pid is still its own."""
        pidfd = os.pidfd_open(popen.pid)
        identity = Identity.of(popen.pid) or Identity(popen.pid, 0, _boot_id())  # 0: it has already ended
        return cls(identity, pidfd, popen)

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def stdin(self) -> IO[bytes]:
        """Our end of the child's standard input. Raises: RuntimeError: it was not asked for."""
        if self._popen is None or self._popen.stdin is None:
            raise RuntimeError("the process was not started with a pipe as its input")
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """Our end of the child's standard output. Raises: RuntimeError: it was not asked for."""
        if self._popen is None or self._popen.stdout is None:
            raise RuntimeError("the process was not started with a pipe as its output")
        return self._popen.stdout

    def fileno(self) -> int:
        """The pidfd: readable once the process has ended, so an event loop can watch it."""
        return self._pidfd

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended (at most `seconds`; None for ever). Whether it has. A child is reaped."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        gone = bool(poll.poll(None if seconds is None else max(0, seconds) * 1000))
        if gone and self._popen is not None:
            self._popen.wait()
        return gone

    def is_alive(self) -> bool:
        return not self.wait(0)

    @property
    def exit_code(self) -> int | None:
        """How an ended child ended: its status, or minus the signal. None for others and while it runs."""
        return self._popen.returncode if self._popen is not None and not self.is_alive() else None

    @property
    def was_killed(self) -> bool:
        """Whether an ended child was ended by somebody, rather than by itself: what it did can be tried again."""
        return self.exit_code in (-signal.SIGKILL, -signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL. Nothing happens when it has ended."""
        self._signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM. Nothing happens when it has ended."""
        self._signal(signal.SIGTERM)

    def stop(self, seconds: float) -> bool:
        """SIGTERM, and SIGKILL if it has not ended after `seconds`. Whether it ended by itself."""
        self.terminate()
        if self.wait(seconds):
            return True
        self.kill()
        self.wait()
        return False

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Release the pidfd and our ends of its pipes."""
        for pipe in (self._popen.stdin, self._popen.stdout) if self._popen else ():
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def spawn(
    argv: Sequence[str],
    *,
    owner: Owner,
    directory: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    stdin: "int | IO[bytes] | None" = None,
    pipe_output: bool = False,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start a confined child of `owner` in `directory`.

    Standard error (and output, unless `pipe_output`) is appended to `log`, which is made with mode 0600 and belongs to
    us. `stdin` is nothing, a file, or subprocess.PIPE. `environment` is added to PATH and LANG and is the only way for
    a token: argv is everybody's to read.

    Raises:
        Fault: `CannotStart`: the program is missing, or we may not take on that uid.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    other = owner != Owner.ours()
    try:
        popen = subprocess.Popen(
            (*_CONFINE, *argv),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE if pipe_output else descriptor,
            stderr=descriptor,
            cwd=directory,
            env={"PATH": _PATH, "LANG": "C.UTF-8", **(environment or {})},
            user=owner.uid if other else None,
            group=owner.gid if other else None,
            extra_groups=[] if other else None,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            umask=0o077,
        )
    except (OSError, ValueError) as error:
        raise Fault("CannotStart", f"{Path(argv[0]).name} cannot be started: {error}") from error
    finally:
        os.close(descriptor)
    return Process.of_child(popen)


def port_is_free(address: str, port: int) -> bool:
    """Whether a server could listen on `address`:`port` now (ends of old connections do not count)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("" if address == "*" else address, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def require_free_port(address: str, port: int) -> None:
    """Raises: Refusal: `PortTaken`: something else listens there."""
    if not port_is_free(address, port):
        raise Refusal(
            "PortTaken",
            f"port {port} on {address} is in use by another program",
            hint=f"see who has it with: ss -ltnp 'sport = :{port}'; or choose another port",
            kind="conflict",
        )


def listens(address: str, port: int, seconds: float = 0.2) -> bool:
    """Whether anything accepts a connection on `address`:`port` (what a fence wants to see end)."""
    reached = "127.0.0.1" if address == "*" else address
    with contextlib.suppress(OSError), socket.create_connection((reached, port), seconds):
        return True
    return False


def wait_until_silent(address: str, port: int, seconds: float) -> bool:
    """Wait until nothing accepts a connection any more. Whether that came within `seconds`."""
    deadline = time.monotonic() + seconds
    while listens(address, port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
