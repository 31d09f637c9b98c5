"""The control socket: how `work` has steps done on this machine (the port `Host` of databases, spoken over a socket).

A Unix socket of mode 0600 in the region's runtime directory; whoever can open it is the region's own user. One request
per connection, frames of a kind byte and a 4-byte big-endian length:

    request  J {"call": "apply" | "backup" | "restore", "system": id, "step": ..., "arguments": {...}}
             D bytes ... D (empty)                      restore only: the stream
    reply    P {"percent": n, "doing": "..."}           any number
             D bytes ... D (empty)                      backup only: the stream
             R {result}  or  E {"code", "message", "hint", "kind"}
"""

import errno
import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from traceback import extract_tb
from typing import Any, cast

from keystead.core.errors import Fault, KeysteadError, Refusal, Unavailable
from keystead.core.frames import MAX_FRAME, read_frame, write_frame
from keystead.host.agent import Agent

IDLE_SECONDS = 600.0


def _unheard(event: str, **more: object) -> None:
    """Where nobody keeps a log."""


class ControlServer:
    """Listens on `path` until `stop`. `log` hears of bugs: where, never the text of an exception."""

    def __init__(self, agent: Agent, path: Path, log: Callable[..., object] = _unheard) -> None:
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            self._server = _Server(str(path), _Handler)
        finally:
            os.umask(old)
        self._server.agent = agent
        self._server.log = log
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128  # a Unix socket whose queue is full refuses at once
    agent: Agent
    log: Callable[..., object]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that is gone; everything else is answered and logged in the handler."""


class _Handler(socketserver.StreamRequestHandler):
    timeout = IDLE_SECONDS

    def handle(self) -> None:
        try:
            self._serve()
        except OSError:
            return  # the caller is gone; what it asked for is idempotent

    def _serve(self) -> None:
        kind, body = read_frame(self.rfile)
        if kind != b"J":
            return
        try:
            result = self._call(body)
        except KeysteadError as error:
            self._error(error)
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._error(Unavailable("DiskFull", "the machine's disk is full", hint="it goes on when there is room"))
                return
            frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)[-8:]]
            cast(_Server, self.server).log("a step failed", error=type(error).__name__, frames=frames)
            self._error(Fault("Internal", f"the step failed: {type(error).__name__}"))
        else:
            write_frame(self.wfile, b"R", json.dumps(dict(result)).encode())

    def _call(self, body: bytes) -> Mapping[str, str]:
        agent = cast(_Server, self.server).agent
        match _read(body):
            case {"call": "apply", "system": str(system), "step": str(step), "arguments": dict(arguments)}:
                return agent.apply(system, step, self._progress, arguments)
            case {"call": "backup", "system": str(system)}:
                with closing(agent.backup(system)) as chunks:
                    for chunk in chunks:
                        for start in range(0, len(chunk), MAX_FRAME):
                            write_frame(self.wfile, b"D", chunk[start : start + MAX_FRAME])
                write_frame(self.wfile, b"D", b"")
                return {}
            case {"call": "restore", "system": str(system)}:
                return agent.restore(system, self._chunks())
            case _:
                raise Refusal("UnknownCall", "no such call")

    def _chunks(self) -> Iterator[bytes]:
        while True:
            kind, body = read_frame(self.rfile)
            if kind != b"D":
                raise Unavailable("StreamBroken", "the stream broke off")
            if not body:
                return
            yield body

    def _progress(self, percent: int, doing: str) -> None:
        write_frame(self.wfile, b"P", json.dumps({"percent": percent, "doing": doing}).encode())

    def _error(self, error: KeysteadError) -> None:
        kind = (
            error.kind if isinstance(error, Refusal) else "unavailable" if isinstance(error, Unavailable) else "fault"
        )
        body = {"code": error.code, "message": error.message, "hint": error.hint, "kind": kind}
        write_frame(self.wfile, b"E", json.dumps(body).encode())


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise Refusal("UnknownCall", "the request cannot be read") from error


def is_listening(path: Path) -> bool:
    """Whether a control server answers on `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
