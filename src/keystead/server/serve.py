"""`keystead serve`: the HTTP faces. Two listeners, so that one cannot starve the other:

    http    TLS (or, on loopback, plain) on [listen] host and port, N workers: for people and applications
    local   a unix socket in the runtime directory, one worker: for `host` and others on this machine

Each worker is forked, wires the region for itself, and accepts from the one socket that they share. The TLS key is made
at start and lives in memory alone.
"""

import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, assert_never

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
    from keystead.server import wiring
    from keystead.web import app, listener

    del wiring, app, listener


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
    listening = _bound(listen.host, listen.port)
    context = _tls(effective, root)

    def task(number: int) -> Task:
        return Task(f"http-{number}", lambda: _work(effective, root, "http", listening, context))

    Supervisor([task(number) for number in range(1, listen.workers + 1)]).run(lambda: True, lambda: None)


def _listen_private(effective: Effective, root: RootKey | None) -> None:
    """The listener whose requests vaults with networks let in: a unix socket, or an interface of its own."""
    listen = effective.settings.listen
    where = listen.private_at
    if where is None:
        return
    if isinstance(where, Path):
        _work(effective, root, "private", _unix(where, int(listen.private_mode, 8)), None)
        return
    check_port(*where, "[listen] private")
    _work(effective, root, "private", _bound(*where), _tls(effective, root))


def _listen_local(effective: Effective, root: RootKey | None) -> None:
    _work(effective, root, "local", _unix(socket_path(effective), 0o600), None)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _unix(path: Path, mode: int) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        listening.bind(str(path))
    finally:
        os.umask(before)
    listening.listen(BACKLOG)
    return listening


def _tls(effective: Effective, root: RootKey | None) -> ssl.SSLContext | None:
    """What a listener speaks TLS with, where it does."""
    if not effective.settings.listen.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    if root is None:
        context.load_cert_chain(sealed_tls(effective))
        return context
    made = _certificate(effective, root)
    with _in_memory(made.pem) as certificate, _in_memory(made.key.reveal()) as key:
        context.load_cert_chain(certificate, key)
    # A certificate lasts 397 days: end in good time, and whoever supervises starts us with a fresh one.
    signal.signal(signal.SIGALRM, lambda _signal, _frame: os.kill(os.getpid(), signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, RENEW_SECONDS)
    return context


def _work(
    effective: Effective, root: RootKey | None, part: Part, listening: socket.socket, context: ssl.SSLContext | None
) -> None:
    """One worker, in its own process: serves until told to stop."""
    import uvloop

    from keystead.server.wiring import open_region, open_sealed_journal, sealed_app, serve_app

    confine.end_with_parent(signal.SIGKILL)
    confine.lock_memory()
    close: Callable[[], None]
    if root is None:
        journal = open_sealed_journal(effective, f"sealed-{part}")
        app, close = sealed_app(effective, journal)
    else:
        region = open_region(effective, root, f"serve-{part}", gather=True)
        app, close = serve_app(region, _ENTRANCES[part]), region.close
    gc.freeze()  # what is there now stays: do not look at it again and again
    gc.set_threshold(ALLOCATIONS, 20, 100)
    try:
        uvloop.run(_serve(app, listening, context))
    finally:
        app.close()
        close()


async def _serve(app: "App", listening: socket.socket, context: ssl.SSLContext | None) -> None:
    from keystead.web.listener import Listener

    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(sign, told.set)
    listener = Listener(app, context)
    listener.listen(listening)
    await told.wait()
    await listener.stop(STOP_SECONDS)


def _certificate(effective: Effective, root: RootKey) -> Certificate:
    names = effective.settings.listen.names
    certificates = authority.RegionCertificates(
        authority.load(effective.state, root, authority.API), SystemClock(), names
    )
    return certificates.server(f"Keystead region {root.region}")


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """A file that lies in memory alone, while it is read."""
    handle = os.memfd_create("keystead-tls", os.MFD_CLOEXEC)
    try:
        os.write(handle, content)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
