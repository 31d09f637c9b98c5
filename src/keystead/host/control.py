"""The control socket: how `work` has steps done on this machine (the port `Host` of databases, spoken over a socket).

A Unix socket of mode 0600 in the region's runtime directory; whoever can open it is the region's own user. One request
per connection, frames of a kind byte and a 4-byte big-endian length:

    request  J {"call": "apply" | "backup" | "restore", "system": id, "step": ..., "arguments": {...}}
             D bytes ... D (empty)                      restore only: the stream
    reply    P {"percent": n, "doing": "..."}           any number
             D bytes ... D (empty)                      backup only: the stream
             R {result}  or  E {"code", "message", "hint", "kind"}
"""

import json
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from keystead.core.errors import Fault, KeysteadError, Refusal, Unavailable
from keystead.core.frames import MAX_FRAME, read_frame, write_frame
from keystead.host.agent import Agent

IDLE_SECONDS = 600.0


class ControlServer:
    """Listens on `path` until `stop`."""

    def __init__(self, agent: Agent, path: Path) -> None:
        path.unlink(missing_ok=True)
        old = os.umask(0o177)
        try:
            self._server = _Server(str(path), _Handler)
        finally:
            os.umask(old)
        self._server.agent = agent
        self._thread = threading.Thread(target=self._server.serve_forever, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    agent: Agent


class _Handler(socketserver.StreamRequestHandler):
    timeout = IDLE_SECONDS

    def handle(self) -> None:
        try:
            self._serve()
        except (BrokenPipeError, ConnectionError, TimeoutError, struct.error):
            return  # the caller is gone; what it asked for is idempotent

    def _serve(self) -> None:
        kind, body = read_frame(self.rfile)
        if kind != b"J":
            return
        request = json.loads(body)
        try:
            result = self._call(request)
        except KeysteadError as error:
            self._error(error)
        except Exception as error:
            self._error(Fault("Internal", f"the step failed: {type(error).__name__}"))
            raise
        else:
            write_frame(self.wfile, b"R", json.dumps(dict(result)).encode())

    def _call(self, request: dict[str, Any]) -> Any:
        agent = cast(_Server, self.server).agent
        match request["call"]:
            case "apply":
                return agent.apply(request["system"], request["step"], self._progress, request.get("arguments", {}))
            case "backup":
                for chunk in agent.backup(request["system"]):
                    for start in range(0, len(chunk), MAX_FRAME):
                        write_frame(self.wfile, b"D", chunk[start : start + MAX_FRAME])
                write_frame(self.wfile, b"D", b"")
                return {}
            case "restore":
                return agent.restore(request["system"], self._chunks())
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


def is_listening(path: Path) -> bool:
    """Whether a control server answers on `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
