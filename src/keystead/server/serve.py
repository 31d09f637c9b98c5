"""`keystead serve`: the HTTP faces. Two listeners, so that one cannot starve the other:

    http    TLS (or, on loopback, plain) on [listen] host and port, N workers: for people and applications
    local   a unix socket in the runtime directory, one worker: for `host` and others on this machine

Each worker is forked and wires the region for itself. The TLS key is made at start and lives in memory alone.
"""

import errno
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, assert_never

from keystead.core.clock import SystemClock
from keystead.core.errors import Refusal
from keystead.seal.service import RootKey
from keystead.server import authority, confine, logs
from keystead.server.locks import Lock
from keystead.server.settings import Effective
from keystead.server.supervise import Supervisor, Task

if TYPE_CHECKING:
    from keystead.web.app import App

Part = Literal["http", "local"]
SOCKET_NAME: Final = "local.sock"
RENEW_SECONDS: Final = 180 * 86400.0
BACKLOG: Final = 1024
STOP_SECONDS: Final = 5.0
GRANIAN_LOGS: Final = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"_granian": {"level": "WARNING", "propagate": True}, "granian.access": {"level": "CRITICAL"}},
}


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


def tasks(effective: Effective, root: RootKey, *, logged: bool) -> list[Task]:
    """The children that make up `serve`."""
    logs_at = effective.state / "log" if logged else None

    def task(part: Part) -> Task:
        return Task(part, lambda: run_part(effective, root, part), logs_at / f"{part}.log" if logs_at else None)

    return [task("http"), task("local")]


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


def serve(effective: Effective, root: RootKey) -> None:
    """Run both listeners until told to stop, e.g. under systemd. `up` runs them as its own children instead."""
    listen = effective.settings.listen
    check_port(listen.host, listen.port)
    with Lock(effective.runtime / "serve.lock", "serve"):
        preload()
        Supervisor(tasks(effective, root, logged=False)).run(lambda: True, lambda: None)


def preload() -> None:
    """Import what children will need, once, before they are forked."""
    import granian

    from keystead.server import wiring
    from keystead.web import app

    del granian, wiring, app


def run_part(effective: Effective, root: RootKey, part: Part) -> None:
    """One listener, in this process, until told to stop."""
    logs.configure(f"serve-{part}")
    with Lock(effective.runtime / f"{part}.lock", f"serve {part}", patience=STOP_SECONDS):
        match part:
            case "http":
                _listen_http(effective, root)
            case "local":
                _listen_local(effective, root)
            case _:
                assert_never(part)


def _listen_http(effective: Effective, root: RootKey) -> None:
    listen = effective.settings.listen
    check_port(listen.host, listen.port)
    tls: dict[str, Any] = {}
    if listen.tls:
        certificates = authority.RegionCertificates(authority.load(effective.state, root), SystemClock(), listen.names)
        made = certificates.server(f"Keystead region {root.region}")
        tls = {"ssl_cert": _in_memory(made.pem), "ssl_key": _in_memory(made.key.reveal())}
    # A certificate lasts 397 days: end in good time, and whoever supervises starts us with a fresh one.
    timer = threading.Timer(RENEW_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    _granian(effective, root, "http", address=listen.host, port=listen.port, workers=listen.workers, **tls)


def _listen_local(effective: Effective, root: RootKey) -> None:
    path = socket_path(effective)
    path.unlink(missing_ok=True)
    _granian(effective, root, "local", uds=path, uds_permissions=0o600, workers=1)


def _granian(effective: Effective, root: RootKey, part: Part, **where: Any) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops

    server = Granian(
        "keystead",
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        loop=Loops.asyncio,
        websockets=False,
        backlog=BACKLOG,
        respawn_failed_workers=True,
        workers_kill_timeout=int(STOP_SECONDS),
        log_dictconfig=GRANIAN_LOGS,
        log_access=False,
        **where,
    )
    server.serve(target_loader=lambda: _worker(effective, root, part), wrap_loader=False)


def _worker(effective: Effective, root: RootKey, part: Part) -> "App":
    """The application of one worker, in its own process."""
    from keystead.server.wiring import open_region, serve_app

    confine.end_with_parent(signal.SIGKILL)
    return serve_app(open_region(effective, root, f"serve-{part}", gather=True))


class _Descriptor(type(Path())):  # type: ignore[misc]  # the platform's path type
    """A path to a descriptor: it must not be resolved to the name of the memory behind it."""

    def resolve(self, strict: bool = False) -> "_Descriptor":
        return self


def _in_memory(content: bytes) -> Path:
    """A file that lies in memory alone. Forked workers inherit its descriptor."""
    handle = os.memfd_create("keystead-tls", os.MFD_CLOEXEC)
    os.write(handle, content)
    return _Descriptor(f"/proc/self/fd/{handle}")
