"""`Host` over a machine's control socket (host/control.py draws the protocol)."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from keystead.core.errors import Fault, Refusal, Unavailable
from keystead.core.frames import MAX_FRAME, read_frame, write_frame
from keystead.databases.ports import Progress, Step

CONNECT_SECONDS = 2.0
SILENCE_SECONDS = 900.0


class SocketHost:
    """The machine behind a Unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def apply(self, system: str, step: Step, progress: Progress, **arguments: str) -> Mapping[str, str]:
        with self._connection() as stream:
            _send(stream, {"call": "apply", "system": system, "step": step, "arguments": arguments})
            return _result(stream, progress)

    def backup(self, system: str) -> Iterator[bytes]:
        with self._connection() as stream:
            _send(stream, {"call": "backup", "system": system})
            while True:
                kind, body = read_frame(stream)
                if kind != b"D":
                    raise _error(kind, body)
                if not body:
                    break
                yield body
            _result(stream, _ignore)

    def restore(self, system: str, chunks: Iterator[bytes]) -> Mapping[str, str]:
        with self._connection() as stream:
            _send(stream, {"call": "restore", "system": system})
            try:
                for chunk in chunks:
                    for start in range(0, len(chunk), MAX_FRAME):
                        write_frame(stream, b"D", chunk[start : start + MAX_FRAME])
                write_frame(stream, b"D", b"")
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has already said why: read on
            return _result(stream, _ignore)

    @contextmanager
    def _connection(self) -> Iterator["_Stream"]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(CONNECT_SECONDS)
            try:
                connection.connect(str(self._path))
                connection.settimeout(SILENCE_SECONDS)
                with connection.makefile("rb") as source:
                    yield _Stream(connection, source)
            except OSError as error:
                raise Unavailable(
                    "HostUnavailable", "the machine that runs the database does not answer", hint="is `host` running?"
                ) from error


class _Stream:
    """Both directions of a connection. Writing is not buffered: what could not be sent is not tried again on closing,
    where its failure would take the place of the answer.
    """

    def __init__(self, connection: socket.socket, source: BinaryIO) -> None:
        self.write = connection.sendall
        self.read = source.read

    def flush(self) -> None:
        """Nothing is held back."""


def _ignore(percent: int, words: str) -> None:
    """Progress that nobody asked for."""


def _send(stream: _Stream, request: Mapping[str, Any]) -> None:
    write_frame(stream, b"J", json.dumps(request).encode())


def _result(stream: _Stream, progress: Progress) -> Mapping[str, str]:
    while True:
        kind, body = read_frame(stream)
        match kind:
            case b"P":
                seen = json.loads(body)
                progress(int(seen["percent"]), str(seen["doing"]))
            case b"R":
                return cast(Mapping[str, str], json.loads(body))
            case _:
                raise _error(kind, body)


def _error(kind: bytes, body: bytes) -> Exception:
    if kind != b"E":
        return Unavailable("HostUnavailable", "the machine that runs the database broke off")
    error = json.loads(body)
    code, message, hint = error["code"], error["message"], error["hint"]
    match error["kind"]:
        case "fault":
            return Fault(code, message, hint=hint)
        case "unavailable":
            return Unavailable(code, message, hint=hint)
        case kind_:
            return Refusal(code, message, hint=hint, kind=kind_)
