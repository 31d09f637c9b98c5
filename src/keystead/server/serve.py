"""`keystead serve`: the HTTP faces. Two listeners, so that one cannot starve the other:

    http    TLS (or, on loopback, plain) on [listen] host and port, N workers: for people and applications
    local   a unix socket in the runtime directory, one worker: for `host` and others on this machine

Each worker is forked and wires the region for itself. The TLS key is made at start and lives in memory alone.
"""

import errno
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, assert_never

from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal
from keystead.crypto.x509 import Certificate
from keystead.seal.service import RootKey
from keystead.server import authority, machine
from keystead.server.process import confine, logs
from keystead.server.process.locks import Lock
from keystead.server.process.supervise import Supervisor, Task
from keystead.server.sealing.warden import Warden
from keystead.server.settings import Effective
from keystead.server.state.building import write

if TYPE_CHECKING:
    from keystead.web.app import App
    from keystead.web.pipeline import Entrance

Part = Literal["http", "local", "private"]
SOCKET_NAME: Final = "local.sock"
RENEW_SECONDS: Final = 180 * 86400.0
BACKLOG: Final = 1024
STOP_SECONDS: Final = 5.0
GRANIAN_LOGS: Final = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"_granian": {"level": "WARNING", "propagate": True}, "granian.access": {"level": "CRITICAL"}},
}
_ENTRANCES: Final[dict[Part, "Entrance"]] = {"http": "", "local": "local", "private": "private"}
ALLOCATIONS: Final = 50_000
"""Objects between two looks for garbage that refers to itself: requests leave next to none."""


def socket_path(effective: Effective) -> Path:
    """The unix socket. Raises: Refusal when its path is longer than the system can name (107 bytes)."""
    path = effective.runtime / SOCKET_NAME
    if len(os.fsencode(path)) > 107:
        raise Refusal(
            "PathTooLong",
            f"the path of the socket is too long: {path}",
            hint="set [listen] runtime_dir to a short path, e.g. /run/keystead",
        )
    return path


def tasks(effective: Effective, root: RootKey | None, *, logged: bool) -> list[Task]:
    """The children that make up `serve`. Without a root key they say that the region is sealed, and take what opens it.

    Sealed, nobody answers over TLS where no certificate was kept for it (see `sealed_tls`).
    """
    logs_at = effective.state / "log" if logged else None

    def task(part: Part) -> Task:
        return Task(part, lambda: run_part(effective, root, part), logs_at / f"{part}.log" if logs_at else None)

    where = effective.settings.listen.private_at
    private = [task("private")] if where is not None else []
    if root is None and effective.settings.listen.tls and not sealed_tls(effective).exists():
        return [task("local"), *(private if isinstance(where, Path) else ())]
    return [task("http"), task("local"), *private]


def sealed_tls(effective: Effective) -> Path:
    """Certificate and TLS key of a region that is sealed, where they are kept: see [unseal] sealed_tls."""
    return effective.state / machine.DIRECTORY / "sealed-tls.pem"


def keep_sealed_tls(effective: Effective, root: RootKey) -> None:
    """Keep a certificate with its key for the time when there is no root key to issue one with."""
    if not effective.settings.listen.tls or not effective.settings.unseal.sealed_tls:
        return
    made = _certificate(effective, root)
    path = sealed_tls(effective)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    write(beside, made.pem + made.key.reveal(), 0o400)
    beside.rename(path)


def drop_sealed_tls(effective: Effective) -> None:
    """It is not needed: the region opens by itself."""
    sealed_tls(effective).unlink(missing_ok=True)


def check_port(host: str, port: int, what: str = "[listen] port") -> None:
    """Raises: Refusal `PortTaken`, `CannotListen`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Refusal(
                    "PortTaken",
                    f"something else listens on {host}:{port} already",
                    hint=f"stop it (`ss -ltnp sport = :{port}` shows it), or set {what}",
                    kind="conflict",
                ) from None
            raise Refusal(
                "CannotListen", f"cannot listen on {host}:{port}: {error.strerror}", hint="see [listen] in the settings"
            ) from error


def check_ports(effective: Effective) -> None:
    """Raises: Refusal `PortTaken`, `CannotListen`: a listener could not be where it is to be."""
    listen = effective.settings.listen
    check_port(listen.host, listen.port)
    if isinstance(listen.private_at, tuple):
        check_port(*listen.private_at, "[listen] private")


def serve(effective: Effective, root: RootKey | None) -> None:
    """Run both listeners until told to stop, e.g. under systemd. `up` runs them as its own children instead."""
    check_ports(effective)
    with Lock(effective.runtime / "serve.lock", "serve"):
        preload()
        warden = Warden(
            effective,
            root,
            SystemClock(),
            lambda key: tasks(effective, key, logged=False),
            lambda: tasks(effective, None, logged=False),
            lambda key: keep_sealed_tls(effective, key),
        )
        try:
            Supervisor(warden.tasks()).run(lambda: True, lambda: None, change=warden.tick)
        finally:
            warden.close()


def preload() -> None:
    """Import what children will need, once, before they are forked."""
    import granian

    from keystead.server import wiring
    from keystead.web import app

    del granian, wiring, app


def run_part(effective: Effective, root: RootKey | None, part: Part) -> None:
    """One listener, in this process, until told to stop."""
    logs.configure(f"serve-{part}")
    with Lock(effective.runtime / f"{part}.lock", f"serve {part}", patience=STOP_SECONDS):
        match part:
            case "http":
                _listen_http(effective, root)
            case "local":
                _listen_local(effective, root)
            case "private":
                _listen_private(effective, root)
            case _:
                assert_never(part)


def _listen_http(effective: Effective, root: RootKey | None) -> None:
    listen = effective.settings.listen
    check_port(listen.host, listen.port)
    tls = _tls(effective, root)
    _granian(effective, root, "http", address=listen.host, port=listen.port, workers=listen.workers, **tls)


def _listen_private(effective: Effective, root: RootKey | None) -> None:
    """The listener whose requests vaults with networks let in: a unix socket, or an interface of its own."""
    listen = effective.settings.listen
    where = listen.private_at
    if where is None:
        return
    if isinstance(where, Path):
        where.unlink(missing_ok=True)
        _granian(effective, root, "private", uds=where, uds_permissions=int(listen.private_mode, 8), workers=1)
        return
    host, port = where
    check_port(host, port, "[listen] private")
    _granian(effective, root, "private", address=host, port=port, workers=1, **_tls(effective, root))


def _tls(effective: Effective, root: RootKey | None) -> dict[str, Any]:
    """Certificate and key of a listener, where it speaks TLS."""
    if not effective.settings.listen.tls:
        return {}
    if root is None:
        return {"ssl_cert": sealed_tls(effective), "ssl_key": sealed_tls(effective)}
    made = _certificate(effective, root)
    # A certificate lasts 397 days: end in good time, and whoever supervises starts us with a fresh one.
    timer = threading.Timer(RENEW_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    return {"ssl_cert": _in_memory(made.pem), "ssl_key": _in_memory(made.key.reveal())}


def _listen_local(effective: Effective, root: RootKey | None) -> None:
    path = socket_path(effective)
    path.unlink(missing_ok=True)
    _granian(effective, root, "local", uds=path, uds_permissions=0o600, workers=1)


def _granian(effective: Effective, root: RootKey | None, part: Part, **where: Any) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops

    server = Granian(
        "keystead",
        interface=Interfaces.ASGI,  # not RSGI: that has no raw target
        http=HTTPModes.http1,
        loop=Loops.uvloop,
        websockets=False,
        backlog=BACKLOG,
        respawn_failed_workers=True,
        workers_kill_timeout=int(STOP_SECONDS),
        log_dictconfig=GRANIAN_LOGS,
        log_access=False,
        **where,
    )
    server.serve(target_loader=lambda: _worker(effective, root, part), wrap_loader=False)


def _worker(effective: Effective, root: RootKey | None, part: Part) -> "App":
    """The application of one worker, in its own process; when the worker ends, the region is closed."""
    from keystead.server.wiring import open_region, open_sealed_journal, sealed_app, serve_app

    confine.end_with_parent(signal.SIGKILL)
    confine.lock_memory()
    close: Callable[[], None]
    if root is None:
        journal = open_sealed_journal(effective, f"sealed-{part}")
        app, close = sealed_app(effective, journal), journal.close
    else:
        region = open_region(effective, root, f"serve-{part}", gather=True)
        app, close = serve_app(region, _ENTRANCES[part]), region.close
    gc.freeze()  # what is there now stays: do not look at it again and again
    gc.set_threshold(ALLOCATIONS, 20, 100)

    async def live(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        finally:
            close()

    return lambda scope, receive, send: (live if scope["type"] == "lifespan" else app)(scope, receive, send)


def _certificate(effective: Effective, root: RootKey) -> Certificate:
    names = effective.settings.listen.names
    certificates = authority.RegionCertificates(
        authority.load(effective.state, root, authority.API), SystemClock(), names
    )
    return certificates.server(f"Keystead region {root.region}")


class _Descriptor(type(Path())):  # type: ignore[misc]  # the platform's path type
    """A path to a descriptor: it must not be resolved to the name of the memory behind it."""

    def resolve(self, strict: bool = False) -> "_Descriptor":
        return self


def _in_memory(content: bytes) -> Path:
    """A file that lies in memory alone. Forked workers inherit its descriptor."""
    handle = os.memfd_create("keystead-tls", os.MFD_CLOEXEC)
    os.write(handle, content)
    return _Descriptor(f"/proc/self/fd/{handle}")
