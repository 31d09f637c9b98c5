"""JSON over HTTP(S) to another service, for callers that block.

Promise: TLS is checked against the named CAs or the system's; plain HTTP is taken to this machine alone; redirects are
not followed, so that no token goes anywhere else; an answer is bounded; connections are kept and, when one turns out to
be closed, made anew once. `close_all` ends what hangs: `Patience` calls it when it gives up.
"""

import http.client
import json
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from keystead.adapters.keystores.patience import Failing
from keystead.core.errors import Refusal

MAX_ANSWER: Final = 256 * 1024
LOCAL: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and decoded body; what is not JSON is None."""

    status: int
    body: Any


class JsonClient:
    """One service. Thread-safe."""

    def __init__(self, url: str, ca_file: str = "", timeout: float = 5.0) -> None:
        """`timeout` in seconds, for each wait on the network. Raises: Refusal `InvalidSettings`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise _invalid(f"{parts.scheme or 'it'}: not an address like https://kms.example:8200")
        if parts.scheme == "http" and parts.hostname not in LOCAL:
            raise _invalid("plain http is accepted to this machine alone", "use https")
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = parts.scheme == "https"
        self._ca_file = ca_file
        self._base = parts.path.rstrip("/")
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: dict[int, http.client.HTTPConnection] = {}

    def call(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> Answer:
        """One request. Raises: Failing (no connection, no answer in time, TLS, not HTTP)."""
        data = None if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **headers}
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            fresh = connection is None
            if connection is None:
                connection = self._connect()
            with self._lock:
                self._busy[id(connection)] = connection
            try:
                return self._exchange(connection, method, path, given, data)
            except (ConnectionError, http.client.RemoteDisconnected, http.client.CannotSendRequest) as error:
                connection.close()
                if fresh:
                    raise Failing(_words(error), _HINT) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                raise Failing(_words(error), _HINT) from None
            finally:
                with self._lock:
                    self._busy.pop(id(connection), None)

    def close_all(self) -> None:
        """Shut every connection, those in use as well: who waits on them sees an error."""
        with self._lock:
            every = [*self._idle, *self._busy.values()]
            self._idle.clear()
        for connection in every:
            sock = connection.sock
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: dict[str, str],
        data: bytes | None,
    ) -> Answer:
        connection.request(method, self._base + path, data, headers)
        response = connection.getresponse()
        text = response.read(MAX_ANSWER + 1)
        if len(text) > MAX_ANSWER:
            raise http.client.HTTPException("the answer is too long")
        if response.will_close or not response.isclosed():
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        try:
            return Answer(response.status, json.loads(text) if text else None)
        except ValueError:
            return Answer(response.status, None)

    def _connect(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            context = ssl.create_default_context(cafile=self._ca_file or None)
        except OSError as error:
            raise Failing(f"its CA file cannot be used: {_words(error)}", "see [external] ca_file") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)


_HINT = "is it running, and reachable from here?"


def _words(error: Exception) -> str:
    """What went wrong in the network, in words without any content."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection ended without an answer" if isinstance(error, ConnectionError) else "its answer is not HTTP"


def _invalid(why: str, hint: str = "") -> Refusal:
    return Refusal("InvalidSettings", f"the address of the external keystore is not usable: {why}", hint=hint)
