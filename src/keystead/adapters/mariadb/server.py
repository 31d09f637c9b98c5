"""mariadbd as a process: start it with its token, wait until it answers, stop it, and say why it did not start."""

import contextlib
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from keystead.adapters.mariadb.process import Identity, Owner, Process, spawn
from keystead.core.errors import Unavailable
from keystead.core.secret import Secret

MARIADBD = "/usr/sbin/mariadbd"
MAX_REASON = 400
_HEX = re.compile(r"[0-9A-Fa-f]{32,}")
_RESPONSE = re.compile(r"http response is: .*")
_PREFIX = re.compile(r"^[\d-]+ +[\d:]+ \d+ \[ERROR\] (?:/\S+: )?")


def token_environment(token: Secret) -> Mapping[str, str]:
    """Where MariaDB's plugin wants its token: the one place that leaves us no other way (law 3)."""
    return {"VAULT_TOKEN": token.reveal().decode("ascii")}


class Server:
    """One running mariadbd: its process, its socket and its error log."""

    def __init__(self, process: Process, socket_path: str, log: Path, *, log_start: int = 0) -> None:
        self.process = process
        self.socket_path = socket_path
        self._log = log
        self._log_start = log_start

    @classmethod
    def start(cls, config: Path, owner: Owner, directory: Path, socket_path: str, log: Path, token: Secret) -> "Server":
        """Start mariadbd on the configuration file `config`, with `token` in its environment alone.

        `directory` is its data directory, `log` gets its error log (mode 0600, ours). Does not wait.

        Raises:
            Fault: `CannotStart`.
        """
        size = log.stat().st_size if log.exists() else 0
        process = spawn(
            (MARIADBD, f"--defaults-file={config}"),
            owner=owner,
            directory=directory,
            log=log,
            environment=token_environment(token),
        )
        return cls(process, socket_path, log, log_start=size)

    @classmethod
    def adopt(cls, identity: Identity, socket_path: str, log: Path) -> "Server | None":
        """Hold a server started in an earlier life of ours; None when it is gone."""
        process = Process.adopt(identity)
        size = log.stat().st_size if log.exists() else 0
        return None if process is None else cls(process, socket_path, log, log_start=size)

    def wait_ready(self, seconds: float = 60.0) -> float:
        """Wait until it greets on its socket. Returns how many seconds that took.

        Raises:
            Unavailable: `ServerDidNotStart`, with the reason its log gives. A server that is merely slow is left
                running: whether to kill it is the caller's decision.
        """
        began = time.monotonic()
        while not greets(self.socket_path):
            if self.process.wait(0.01):
                code = self.process.exit_code
                ended = "ended" if code is None else f"ended with status {code}"
                raise Unavailable("ServerDidNotStart", f"the database server {ended}: {self.reason()}")
            if time.monotonic() - began > seconds:
                raise Unavailable("ServerDidNotStart", f"the database server did not answer within {seconds:.0f} s")
        return time.monotonic() - began

    def stop(self, seconds: float = 30.0) -> bool:
        """Shut down cleanly; kill it if it has not ended after `seconds`. Whether it ended by itself."""
        return self.process.stop(seconds)

    def kill(self, seconds: float = 5.0) -> bool:
        """SIGKILL and wait. Whether it is gone (it is, unless the kernel holds it in an unkillable wait)."""
        self.process.kill()
        return self.process.wait(seconds)

    def reason(self) -> str:
        """What the error log says about this start, one line, scrubbed; fit for people and for audit."""
        return last_errors(self._log, self._log_start)


def greets(socket_path: str, seconds: float = 1.0) -> bool:
    """Whether a server sends its greeting on the Unix socket (or says that it has too many connections)."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(seconds)
        probe.connect(socket_path)
        first = probe.recv(5)
        return len(first) == 5 and first[3] == 0 and first[4] in (0x0A, 0xFF)
    return False


def last_errors(log: Path, start: int = 0, count: int = 3) -> str:
    """The last `[ERROR]` lines that `log` holds after offset `start`, joined and scrubbed of anything like a key."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(start, log.stat().st_size - 65536))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    errors = [_scrub(line) for line in lines if "[ERROR]" in line or line.startswith("ERROR")]
    distinct = list(dict.fromkeys(error for error in errors if error and error != "Aborting"))
    text = "; ".join(distinct[:1] + distinct[1:][-(count - 1) :]) or "its log gives no reason"
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"


def _scrub(line: str) -> str:
    text = _PREFIX.sub("", line.strip())
    return _HEX.sub("…", _RESPONSE.sub("http response withheld", text))
