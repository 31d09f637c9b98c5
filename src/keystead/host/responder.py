"""The fenced responder: takes a fenced system's port and tells each client why nothing is there.

Each connection gets one ERR packet, which the MySQL protocol allows in place of the greeting, and is closed; nothing a
client sends is read. Clients print it as they print any server's error (newer ones of MariaDB add that what comes
before the TLS handshake cannot be verified, which is true):

    (3168, "database system 'flights' is INACCESSIBLE: its key 'finance' is disabled")

    length 3 | sequence 0 | 0xff | code (little endian) | message        before the handshake there is no SQL state

Bounds: connections at a time (more are closed at once), seconds per connection.
"""

import asyncio
import contextlib
from typing import cast

CODE = 3168
"""ER_SERVER_ISNT_AVAILABLE: no driver takes it for wrong credentials, so none locks an account or asks again."""
MAX_MESSAGE = 480


def error_packet(message: str, code: int = CODE) -> bytes:
    """The packet. Control characters become spaces; what is too long is cut (in bytes of UTF-8)."""
    plain = "".join(letter if letter.isprintable() else " " for letter in message)
    text = plain.encode("utf-8", "replace")[:MAX_MESSAGE].decode("utf-8", "ignore").encode()
    body = b"\xff" + code.to_bytes(2, "little") + text
    return len(body).to_bytes(3, "little") + b"\x00" + body


class Refuser:
    """The responder of one system. `await start(...)` when fenced, `await close()` before the server starts again."""

    def __init__(self, message: str, *, max_connections: int = 64, seconds: float = 2.0) -> None:
        self._packet = error_packet(message)
        self._max = max_connections
        self._seconds = seconds
        self._server: asyncio.Server | None = None
        self._open: set[_Client] = set()
        self.answered = 0

    def say(self, message: str) -> None:
        """Another reason from now on."""
        self._packet = error_packet(message)

    async def start(self, address: str, port: int, *, tries: int = 50) -> int:
        """Take the port; the killed server's socket may need a moment to go. Returns the port.

        Raises:
            OSError: something else holds it.
        """
        loop = asyncio.get_running_loop()
        for attempt in range(tries):
            try:
                self._server = await loop.create_server(
                    lambda: _Client(self), None if address == "*" else address, port, backlog=128
                )
                break
            except OSError:
                if attempt == tries - 1:
                    raise
                await asyncio.sleep(0.02)
        return int(cast(asyncio.Server, self._server).sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Give the port back."""
        if self._server is not None:
            # Accept no more, and let what was just accepted become a connection: a server that is closed between the
            # two forgets it, neither answered nor closed, and its client would wait for ever.
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            await asyncio.sleep(0)
            self._server.close()
            for client in tuple(self._open):
                client.end()
            await self._server.wait_closed()
            self._server = None


class _Client(asyncio.Protocol):
    """One connection: the packet, then the end of the stream, then whatever the client does for a little while.

    Closing at once could reset the connection (the client may have sent something) and lose the packet on its way.
    """

    def __init__(self, refuser: Refuser) -> None:
        self._refuser = refuser
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._refuser._open) >= self._refuser._max:
            self._transport.abort()
            return
        self._refuser._open.add(self)
        self._refuser.answered += 1
        self._deadline = asyncio.get_running_loop().call_later(self._refuser._seconds, self.end)
        self._transport.write(self._refuser._packet)
        with contextlib.suppress(OSError):
            self._transport.write_eof()

    def data_received(self, data: bytes) -> None:
        """Read by the kernel, looked at by nobody."""

    def end(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._refuser._open.discard(self)
