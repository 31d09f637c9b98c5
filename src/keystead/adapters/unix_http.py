"""HTTP over a Unix socket: `UnixConnection` for a request now and then, `UnixLine` for many in a row.

A line sends head and body as one piece, which the other side reads in one; h11 makes and reads the messages.
"""

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path

import h11

RECEIVE_BYTES = 64 << 10


class UnixConnection(http.client.HTTPConnection):
    """A connection to the server that listens at `path`; `timeout` is in seconds."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class UnixLine:
    """A connection for one request after the other, for as long as the server keeps it. For one thread at a time."""

    def __init__(self, path: Path, timeout: float) -> None:
        """Connect; `timeout` is in seconds, of each wait for the server. Raises: OSError."""
        self._http = h11.Connection(h11.CLIENT)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def post(self, target: str, headers: Mapping[str, str], content: bytes) -> tuple[int, str, bytes]:
        """Status, Date and body of the answer. Raises: OSError, h11.ProtocolError: there is none, nor will be."""
        told = [("Host", "localhost"), *headers.items(), ("Content-Length", str(len(content)))]
        request = h11.Request(method="POST", target=target, headers=told)
        events = (request, h11.Data(data=content), h11.EndOfMessage())
        self._socket.sendall(b"".join(self._http.send(event) or b"" for event in events))
        status, date, body = 0, "", b""
        while not isinstance(event := self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status, date = event.status_code, dict(event.headers).get(b"date", b"").decode("latin-1")
            elif isinstance(event, h11.Data):
                body += event.data
        return status, date, body

    def keep(self) -> bool:
        """Make ready for another request; False, and closed, when the server wants no more of them."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        self.close()
        return False

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _event(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._socket.recv(RECEIVE_BYTES))
        if not isinstance(event, h11.Event) or isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("the answer broke off")
        return event
