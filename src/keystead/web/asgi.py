"""ASGI over h11: one request that a task serves (scope, receive and send; ASGI 3, HTTP spec 2.4).

h11 frames what is sent: chunks where no length is known, nothing for HEAD, `connection: close` where the connection
ends (RFC 9112).
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

import h11
import structlog

from keystead.web.exchange import Header

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

HEAD_LIMIT: Final = 32 * 1024
"""Bytes of a head, and of what of a body is not yet taken."""
BODY_HELD: Final = 128 * 1024
_ABSOLUTE = re.compile(rb"https?://[^/?#@]*", re.IGNORECASE)

_log = structlog.get_logger("keystead.web")


def target_of(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target, as they were sent; of the absolute form what follows the authority."""
    if target[:1] != b"/" and (absolute := _ABSOLUTE.match(target)):
        target = target[absolute.end() :]
        if target[:1] != b"/":
            target = b"/" + target
    path, _, query = target.partition(b"?")
    return path, query


def malformed(error: h11.RemoteProtocolError) -> tuple[int, bytes]:
    """Status and body of the answer to what is no request."""
    status = error.error_status_hint
    code, message = {
        431: ("HeadTooLarge", "the head of the request is too long"),
        501: ("NotImplemented", "the only transfer coding understood is chunked"),
        505: ("VersionNotSupported", "this server speaks HTTP/1.1"),
    }.get(status, ("MalformedRequest", "the request cannot be read"))
    said = {"code": code, "message": message, "hint": "", "request_id": ""}
    return status, json.dumps(said, separators=(",", ":")).encode()


class Wire(Protocol):
    """The connection, as an exchange needs it."""

    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def date(self) -> bytes: ...
    def let_go(self) -> None: ...
    def abort(self) -> None: ...
    def answered(self) -> None: ...

    @property
    def ending(self) -> bool: ...


class HttpExchange:
    """One request: the connection feeds it, the application reads from and writes to it."""

    def __init__(
        self, wire: Wire, http: h11.Connection, method: str, version: bytes, headers: tuple[Header, ...]
    ) -> None:
        self.http = http
        self.whole = False
        """Whether all of the body has come."""
        self._wire = wire
        self._head = method == "HEAD"
        self._pieces: list[bytes] = []
        self._size = 0
        self._told = False  # that the body is whole
        self._gone = False
        self._news: asyncio.Future[None] | None = None
        self._answer: h11.Response | None = None
        self._started = self._ended = False

    # from the connection

    def take(self, data: bytes) -> bool:
        """A piece of the body; True: that is enough for now."""
        if self._gone or self._ended:
            return False
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        return self._size > BODY_HELD

    def complete(self) -> None:
        """All of the body has come."""
        self.whole = True
        self._wake()

    def lost(self) -> None:
        """The body does not go on, or the client has gone."""
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    # for the application

    async def run(self, app: Asgi, scope: Scope) -> None:
        """Serve the request."""
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            # Its type only: the text of a foreign error may hold anything.
            _log.error("the application failed", error=type(error).__name__)
        if self._ended:
            return
        if self._started:
            self._wire.abort()
            self._ended = True
            return
        await self._send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"0")]})
        await self._send({"type": "http.response.body"})

    async def _receive(self) -> Message:
        while True:
            if self._pieces or (self.whole and not self._told):
                body = b"".join(self._pieces)
                self._pieces.clear()
                self._size = 0
                self._told = self.whole
                self._wire.let_go()
                return {"type": "http.request", "body": body, "more_body": not self._told}
            if self._gone:
                return {"type": "http.disconnect"}
            if self.http.they_are_waiting_for_100_continue and not self._started:
                self._put(h11.InformationalResponse(status_code=100, headers=[]))
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    async def _send(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            if not any(name == b"date" for name, _value in headers):
                headers.append((b"date", self._wire.date()))
            if self._wire.ending or not self.whole:
                headers.append((b"connection", b"close"))
            self._answer = h11.Response(status_code=message["status"], headers=headers)
            return
        out = b""
        if self._answer is not None:
            self._started = True
            out = self.http.send(self._answer) or b""
            self._answer = None
        body, more = message.get("body", b""), message.get("more_body", False)
        if body and not self._head:
            out += self.http.send(h11.Data(data=body)) or b""
        if more:
            self._wire.write(out)
            await self._wire.drain()
            return
        self._ended = True
        self._wire.write(out + self._end())
        self._wire.answered()

    def _end(self) -> bytes:
        try:
            return self.http.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError:  # less than the length that was told: the client must not take it for all
            self._wire.abort()
            return b""

    def _put(self, event: h11.InformationalResponse) -> None:
        self._wire.write(self.http.send(event) or b"")
