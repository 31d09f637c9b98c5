"""`keystead up` and `down`: a whole region on one machine, as three processes that are kept alive.

`up` first checks everything that could be wrong (lock, key, schema, rollback, ports), then starts; what it refuses it
refuses before anything has changed. Database servers are not its children: they outlive it and are adopted again.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keystead.core.clock import SystemClock
from keystead.core.errors import KeysteadError, Refusal, Unavailable
from keystead.core.secret import Secret
from keystead.server import settings
from keystead.server.process import confine, probe, ready
from keystead.server.process.locks import Lock, holder
from keystead.server.process.supervise import Supervisor, Task
from keystead.server.sealing import mark
from keystead.server.sealing.newroot import settle
from keystead.server.sealing.unseal import SEAL_NAME, ask_passphrase, open_by_itself, open_root, read_seal
from keystead.server.sealing.warden import Warden
from keystead.server.serve import check_port, check_ports, drop_sealed_tls, keep_sealed_tls, preload, socket_path, tasks
from keystead.server.settings import Effective

if TYPE_CHECKING:
    from keystead.cli.console import Console
    from keystead.seal.service import RootKey

LOCK_NAME: Final = "up.lock"
ROLES: Final = ("up", "http", "local", "private", "serve", "work", "host")
PATIENCE_SECONDS: Final = 60.0
STOP_SECONDS: Final = 40.0


def up(
    console: "Console",
    config: Path | None,
    state: Path | None,
    *,
    from_stdin: bool,
    detach: bool,
    accept_rollback: bool,
    sealed: bool = False,
) -> None:
    """Run a region until told to stop; with `detach`, come back when it is up.

    Raises:
        Refusal: `AlreadyRunning`, `WrongRootKey`, `PortTaken`, `StateRolledBack`, ...; nothing was changed.
    """
    confine.confine()
    effective = settings.load(config, state)
    _check_idle(effective, ("up",))
    how = Start(_passphrase(effective, from_stdin) if not sealed else None, sealed, accept_rollback)
    if detach:
        _detached(console, effective, how)
        return
    _run(effective, how, lambda: _tell_up(console, effective), _restarted(console))


@dataclass(frozen=True, slots=True)
class Start:
    """How to start: with a passphrase that was given, or sealed, whatever could open it."""

    passphrase: Secret | None
    sealed: bool
    accept_rollback: bool


def _passphrase(effective: Effective, from_stdin: bool) -> Secret | None:
    """The passphrase, where it is needed and somebody is there to be asked."""
    if from_stdin:
        return ask_passphrase(from_stdin=True)
    if effective.key_file is not None or mark.read(effective.state) is not None or not sys.stdin.isatty():
        return None
    kinds = {slot.kind for slot in read_seal(effective.state / SEAL_NAME).slots}
    if kinds & {"pkcs11", "external"} or "passphrase" not in kinds:
        return None
    given = ask_passphrase(from_stdin=False, prompt="passphrase of the region (empty: start sealed): ")
    return given if len(given) else None


def _open(effective: Effective, how: Start) -> "RootKey | None":
    """The root key; None: the region starts sealed."""
    if how.passphrase is not None:
        root = open_root(effective, how.passphrase)
        mark.clear(effective.state)
        return root
    if how.sealed or mark.read(effective.state) is not None:
        return None
    try:
        return open_by_itself(effective)
    except Unavailable:  # it may answer later: the warden tries again
        return None


def down(console: "Console", config: Path | None, state: Path | None, *, with_databases: bool) -> None:
    """Stop what `up` runs. Raises: Refusal `NotRunning`, `StillRunning`."""
    effective = settings.load(config, state)
    found = holder(effective.runtime / LOCK_NAME)
    if found is None or not found.pid:
        raise Refusal("NotRunning", f"no region is running on {effective.state}", kind="conflict")
    pidfd = os.pidfd_open(found.pid)
    try:
        if holder(effective.runtime / LOCK_NAME) != found:
            raise Refusal("NotRunning", f"the region on {effective.state} has just stopped", kind="conflict")
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not select.select([pidfd], [], [], STOP_SECONDS)[0]:
            raise Refusal("StillRunning", f"process {found.pid} has not stopped in {STOP_SECONDS:.0f} s")
    finally:
        os.close(pidfd)
    ended: list[str] = []
    if with_databases:
        from keystead.server.host import stop_databases

        with quiet(effective, "down"):
            ended = stop_databases(effective)
    if console.json:
        console.document({"stopped": True, "databases_stopped": ended})
    elif with_databases:
        console.say(f"stopped, with {len(ended)} database servers")
    else:
        console.say("stopped; database servers go on")


@contextmanager
def quiet(effective: Effective, what: str) -> Iterator[None]:
    """While nothing of the region runs, and nothing can start. Raises: Refusal `AlreadyRunning`."""
    with Lock(effective.runtime / LOCK_NAME, what):
        _check_idle(effective, ROLES[1:])
        yield


def _run(effective: Effective, how: Start, on_ready: Callable[[], None], restarted: Callable[[str, int], None]) -> None:
    with Lock(effective.runtime / LOCK_NAME, "up"):
        confine.lock_memory()
        settle(effective)
        root = _open(effective, how)
        _preflight(effective, how.accept_rollback)
        preload()
        warden = _warden(effective, root)
        try:
            supervisor = Supervisor(warden.tasks(), restarted)
            supervisor.run(lambda: _is_up(effective, supervisor, warden), on_ready, PATIENCE_SECONDS, warden.tick)
        finally:
            warden.close()


def _warden(effective: Effective, root: "RootKey | None") -> Warden:
    from keystead.server import host
    from keystead.server.work import work

    del host  # loaded before it is forked
    logs = effective.state / "log"
    made: list[Warden] = []
    # One and the same task, sealed or open: `host` goes on, or nobody would fence.
    keeping = Task("host", lambda: _keep(made[0], effective), logs / "host.log")

    def open_tasks(key: "RootKey") -> list[Task]:
        if effective.key_file is None:
            keep_sealed_tls(effective, key)
        else:
            drop_sealed_tls(effective)
        working = Task("work", lambda: work(effective, key), logs / "work.log")
        return [*tasks(effective, key, logged=True), working, keeping]

    def sealed_tasks() -> list[Task]:
        return [*tasks(effective, None, logged=True), keeping]

    made.append(
        Warden(effective, root, SystemClock(), open_tasks, sealed_tasks, lambda key: keep_sealed_tls(effective, key))
    )
    return made[0]


def _keep(warden: Warden, effective: Effective) -> None:
    """In the child that is `host`: forget the root key, then run."""
    from keystead.server.host import host

    warden.close()
    host(effective)


def _preflight(effective: Effective, accept_rollback: bool) -> None:
    """Everything that can be refused before anything starts."""
    from keystead.server.state.rollback import check

    _check_idle(effective, ROLES[1:])
    socket_path(effective)
    check_ports(effective)
    check_port("127.0.0.1", effective.settings.databases.endpoint_port, "[databases] endpoint_port")
    check(effective, accept=accept_rollback)


def _check_idle(effective: Effective, roles: tuple[str, ...]) -> None:
    for role in roles:
        found = holder(effective.runtime / f"{role}.lock")
        if found is not None:
            raise Refusal(
                "AlreadyRunning",
                f"{found.what} (process {found.pid}) is already running on {effective.state}",
                hint=f"it answers at {effective.url}; stop it with `keystead down`",
                kind="conflict",
            )


def _is_up(effective: Effective, supervisor: Supervisor, warden: Warden) -> bool:
    pids = supervisor.pids()
    if warden.phase == "sealed":
        return probe.local_health(effective) is not None
    if not all(name in pids and ready.is_ready(effective, name, pids[name]) for name in ("work", "host")):
        return False
    return probe.local_health(effective) is not None and probe.http_health(effective) is not None


def _tell_up(console: "Console", effective: Effective, pid: int = 0) -> None:
    health = probe.local_health(effective) or {}
    sealed = health.get("status") == "sealed"
    if console.json:
        told = {"url": effective.url, "state": str(effective.state), "pid": pid or os.getpid()}
        console.document({**told, **({"sealed": True} if sealed else {})})
    else:
        if sealed:
            console.say(f"The region is up, but sealed: keystead unseal --url unix:{socket_path(effective)}")
        else:
            console.say(f"The region is up: {effective.url}")
        console.say(f"  logs   {effective.state / 'log'}")
        console.say(f"  stop   keystead down --state {effective.state}")
    sys.stdout.flush()


def _restarted(console: "Console") -> Callable[[str, int], None]:
    def tell(name: str, code: int) -> None:
        how = f"by signal {-code}" if code < 0 else f"with {code}"
        console.remark(f"{name} ended {how}; started again")

    return tell


def _detached(console: "Console", effective: Effective, how: Start) -> None:
    """Run in a process of its own session; the caller waits until it is up or has said why not."""
    import json

    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader, "rb") as source:
            told = source.readline()  # not to the end: the children have this pipe too
        answer = json.loads(told or b'{"code": "CannotStart", "message": "it ended without a word", "hint": ""}')
        if "code" in answer:
            raise Refusal(answer["code"], answer["message"], hint=answer["hint"])
        _tell_up(console, effective, child)
        return
    os.close(reader)
    code = 1
    try:
        _leave_terminal(effective)

        def on_ready() -> None:
            os.write(writer, json.dumps({"up": True}).encode() + b"\n")

        _run(effective, how, on_ready, _restarted(console))
        code = 0
    except KeysteadError as error:
        words = {"code": error.code, "message": error.message, "hint": error.hint}
        os.write(writer, json.dumps(words).encode() + b"\n")
    finally:
        os._exit(code)


def _leave_terminal(effective: Effective) -> None:
    os.setsid()
    log = effective.state / "log" / "up.log"
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} up, process {os.getpid()}", flush=True)
