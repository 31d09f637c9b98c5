"""The HTTP server: connections of one event loop, serving one ASGI application.

    bytes -> head (http1) -> at once, by the application's `at_once`     (whole requests for cryptography)
                          -> a task that runs the ASGI application       (everything else)

Promises: requests of one connection are answered in their order; a request that has begun is done to its end even when
its client goes away; a body is read only as fast as the application takes it; who sends nothing, or not all of a head,
is let go in time; after an answer that came before the whole body the connection ends, in a way that lets the answer
arrive. Everything happens on the loop's own thread, so that nothing waits for the interpreter's lock.

Requests that are read in one turn of the loop had begun to arrive before that turn began: `turns` builds on that, so
what follows a request on the same connection is looked at in a turn of its own.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any, Final, Protocol

import structlog

from keystead.web.http1 import (
    HEAD_LIMIT,
    LAST_CHUNK,
    STATUS_LINES,
    BadMessage,
    BodyReader,
    Fields,
    Header,
    Heads,
    Line,
    check,
    write_chunk,
    write_fields,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECTIONS: Final = 1000
"""Of one worker. More wait to be accepted."""
HEAD_S: Final = 30.0
IDLE_S: Final = 120.0
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 16 << 20
SWEEP_S: Final = 2.0
BUFFER: Final = 128 * 1024
"""Of a body, or of requests that follow, held until the application takes more."""

_log = structlog.get_logger("keystead.web")


class Answering(Protocol):
    """Where an answer to a request served at once goes."""

    source: str

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """Send it. `fields`: header fields with their CRLFs, but for content-length."""
        ...


class Application(Protocol):
    """An ASGI application that serves some requests at once."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...

    def at_once(self, line: Line, fields: Fields, body: bytes, to: Answering) -> bool:
        """Serve a whole request now and `to.answer` it, soon; False: it is not of that kind, and nothing was done."""
        ...


class Listener:
    """Serves `app` on listening sockets, on the running loop, until `stop`."""

    def __init__(self, app: Application, context: ssl.SSLContext | None = None) -> None:
        self.app = app
        self.heads = Heads()
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()
        self.stopping = False
        self._context = context
        self._sockets: list[socket.socket] = []
        self._accepting = False
        self._welcomes: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._date = (0, b"")
        self._sweeper: asyncio.TimerHandle | None = None

    def listen(self, listening: socket.socket) -> None:
        """Accept from `listening`, which is ours from now on."""
        listening.setblocking(False)
        self._sockets.append(listening)
        self._accept_more()

    async def stop(self, patience_s: float) -> None:
        """Accept nothing more, let what has begun end, and close everything after `patience_s` at the latest."""
        self.stopping = True
        self._accept_no_more()
        for listening in self._sockets:
            listening.close()
        for connection in tuple(self.connections):
            connection.finish()
        if self.connections or self._welcomes:
            try:
                async with asyncio.timeout(patience_s):
                    await self._empty.wait()
            except TimeoutError:
                for connection in tuple(self.connections):
                    connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=patience_s)

    def date(self) -> bytes:
        """The Date field of now (RFC 9110 section 6.6.1)."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = (now, f"date: {formatdate(now, usegmt=True)}\r\n".encode())
        return self._date[1]

    def joined(self, connection: "Connection") -> None:
        """A connection is up."""
        self.connections.add(connection)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        if self.stopping:
            connection.finish()

    def left(self, connection: "Connection") -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        self._check_empty()
        self._accept_more()

    def _check_empty(self) -> None:
        if self.stopping and not self.connections and not self._welcomes:
            self._empty.set()

    def _accept_more(self) -> None:
        if self._accepting or self.stopping:
            return
        self._accepting = True
        for listening in self._sockets:
            self.loop.add_reader(listening, self._accept, listening)

    def _accept_no_more(self) -> None:
        self._accepting = False
        for listening in self._sockets:
            self.loop.remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        # One per turn: other workers listen at the same socket, and this one has something to do from now on.
        try:
            accepted, _peer = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptors, no memory: those who are connected go on
            _log.error("cannot accept", error=error.strerror)
            self._accept_no_more()
            self.loop.call_later(SWEEP_S, self._accept_more)
            return
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        welcome = self.loop.create_task(self._welcome(accepted))
        self._welcomes.add(welcome)
        welcome.add_done_callback(self._welcomed)
        if len(self.connections) + len(self._welcomes) >= CONNECTIONS:
            self._accept_no_more()

    async def _welcome(self, accepted: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(
                lambda: Connection(self), accepted, ssl=self._context, ssl_handshake_timeout=self._handshake()
            )
        except (OSError, asyncio.CancelledError):  # a handshake that came to nothing
            accepted.close()

    def _handshake(self) -> float | None:
        return HEAD_S if self._context is not None else None

    def _welcomed(self, welcome: asyncio.Task[None]) -> None:
        self._welcomes.discard(welcome)
        if not welcome.cancelled() and (error := welcome.exception()) is not None:
            _log.error("a connection failed", error=type(error).__name__)
        self._check_empty()
        self._accept_more()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in tuple(self.connections):
            connection.look(now)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep) if self.connections else None


class Connection(asyncio.Protocol):
    """One connection: at most one request under way."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._kept = b""  # bytes not looked at yet
        self._busy = False  # a request is under way
        self._exchange: Exchange | None = None  # it, when a task serves it
        self._closing = False  # after the answer under way
        self._lingering = False
        self._drained = 0
        self._since = 0.0  # when it began to wait for a request, or for the rest of a head
        self._held = False  # reading is paused
        self._full: asyncio.Future[None] | None = None  # writing is
        self.source = ""

    # what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of a stream
        peer = transport.get_extra_info("peername")
        self.source = peer[0] if isinstance(peer, tuple) else ""
        self._since = self._listener.loop.time()
        self._listener.joined(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._listener.left(self)
        if self._exchange is not None:
            self._exchange.lost()
        self.resume_writing()

    def eof_received(self) -> bool:
        if self._exchange is not None and not self._exchange.whole:
            self._exchange.broke()
        self._closing = True
        # Who has only finished speaking is answered; a secured connection cannot be half closed.
        return self._busy and self._transport is not None and self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        self._full = self._listener.loop.create_future()

    def resume_writing(self) -> None:
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._drained += len(data)
            if self._drained > LINGER_BYTES:
                self.abort()
            return
        exchange = self._exchange
        if exchange is not None and not exchange.whole:
            data = exchange.feed(data)
            if not data:
                return
        self._kept = self._kept + data if self._kept else data
        if not self._busy:
            self._advance()
        elif len(self._kept) > BUFFER:
            self.hold()

    # requests

    def _advance(self) -> None:
        """Begin the next request, when all of its head is here."""
        data = self._kept
        if self._busy or self._transport is None or self._lingering:
            return
        if data[:1] in (b"\r", b"\n"):
            data = self._kept = data.lstrip(b"\r\n")
        listener = self._listener
        end = data.find(b"\r\n\r\n", 0, HEAD_LIMIT)
        try:
            if end < 0:
                if len(data) >= HEAD_LIMIT:
                    raise BadMessage(431, "HeadTooLarge", "the head of the request is too long")
                return
            first = data.find(b"\r\n")
            line = listener.heads.line(data[:first])
            fields = listener.heads.fields(data[first + 2 : end])
            if fields.hosts != 1:
                check(line, fields)
            if fields.chunked:
                check(line, fields)
        except BadMessage as error:
            self._refuse(error)
            return
        self._closing = self._closing or fields.close or not line.minor
        self._busy = True
        body_at = end + 4
        body_end = body_at + fields.length
        if body_at <= body_end <= len(data) and line.known is not False:
            self._kept = data[body_end:]
            if listener.app.at_once(line, fields, data[body_at:body_end], self):
                return
        self._kept = b""
        self._exchange = exchange = Exchange(self, listener, line, fields)
        rest = data[body_at:]
        self._kept = exchange.feed(rest) if not exchange.whole else rest
        task = listener.loop.create_task(exchange.run())
        listener.tasks.add(task)
        task.add_done_callback(listener.tasks.discard)

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """The whole answer to the request under way (`Answering`)."""
        transport = self._transport
        if transport is None:
            return
        transport.write(
            b"%b%bcontent-length: %d\r\n%b%b\r\n%b"
            % (
                STATUS_LINES[status],
                fields,
                len(body),
                b"" if b"\r\ndate: " in fields else self._listener.date(),
                b"connection: close\r\n" if self._closing else b"",
                body,
            )
        )
        self.answered()

    def answered(self) -> None:
        """The answer has been written: go on with what follows, in a turn of its own."""
        exchange, self._exchange = self._exchange, None
        self._busy = False
        if self._transport is None:
            return
        if exchange is not None and not exchange.whole:
            self._linger()
        elif self._closing:
            self._transport.close()
        else:
            self._since = self._listener.loop.time()
            self.let_go()
            if self._kept:
                self._listener.loop.call_soon(self._advance)

    def _refuse(self, error: BadMessage) -> None:
        """What is no request is answered as such, and the connection ends: nobody has asked for anything."""
        self._closing = True
        said = b'{"code":"%b","message":"%b","hint":"","request_id":""}' % (error.code.encode(), error.message.encode())
        self._busy = True
        transport = self._transport
        if transport is not None:
            fields = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(said)
            transport.write(b"%b%b%b\r\n%b" % (STATUS_LINES[error.status], fields, self._listener.date(), said))
            self._busy = False
            self._linger()

    # writing and ending

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client takes more."""
        if self._full is not None:
            await self._full

    @property
    def closing(self) -> bool:
        """Whether the connection ends after the answer under way."""
        return self._closing

    def end_after(self) -> None:
        """End the connection after the answer under way."""
        self._closing = True

    def hold(self) -> None:
        """Read no more for now."""
        if not self._held and self._transport is not None and not self._transport.is_closing():
            self._held = True
            self._transport.pause_reading()

    def let_go(self) -> None:
        """Read on."""
        if self._held and self._transport is not None:
            self._held = False
            self._transport.resume_reading()

    def finish(self) -> None:
        """Close when what is under way has been answered."""
        self._closing = True
        if not self._busy and not self._lingering and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def look(self, now: float) -> None:
        """End what has waited for too long."""
        if self._busy or self._transport is None:
            return
        waited = now - self._since
        if self._lingering:
            if waited > LINGER_S:
                self._transport.abort()
        elif self._kept and waited > HEAD_S:
            self._refuse(BadMessage(408, "RequestTimeout", "the request did not arrive in time"))
        elif waited > IDLE_S:
            self._transport.close()

    def _linger(self) -> None:
        """Close so that the answer arrives: closing on bytes that were not read would take it away (RFC 9112, 9.6)."""
        transport = self._transport
        if transport is None:
            return
        self._lingering = True
        self._since = self._listener.loop.time()
        self._kept = b""
        self.let_go()
        if transport.can_write_eof():
            transport.write_eof()


class Exchange:
    """One request that a task serves: ASGI's scope, receive and send."""

    def __init__(self, connection: Connection, listener: Listener, line: Line, fields: Fields) -> None:
        self._connection = connection
        self._listener = listener
        self._line = line
        self._fields = fields
        self._body = BodyReader(fields)
        self._pieces: list[bytes] = []
        self._size = 0
        self._told = False  # that the body is whole
        self._gone = False
        self._news: asyncio.Future[None] | None = None
        self._expects = fields.expects and line.minor == 1
        self._status = 0
        self._headers: list[Header] = []
        self._started = self._ended = self._chunks = False

    @property
    def whole(self) -> bool:
        """Whether all of the body has come."""
        return self._body.whole

    # from the connection

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; the rest is returned."""
        if self._gone:
            return b""
        try:
            piece, rest = self._body.feed(data)
        except BadMessage:
            self.broke()
            return b""
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
            if self._size > BUFFER and not self._ended:
                self._connection.hold()
        self._expects = self._expects and not data
        self._wake()
        return rest

    def broke(self) -> None:
        """The body does not go on."""
        self._gone = True
        self._wake()

    def lost(self) -> None:
        """The client has gone."""
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)

    # for the application

    async def run(self) -> None:
        """Serve the request."""
        line = self._line
        path = line.path
        source = self._connection.source
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": f"1.{line.minor}",
            "method": line.method,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": line.query,
            "headers": self._fields.headers,
            "client": (source, 0) if source else None,
        }
        try:
            await self._listener.app(scope, self._receive, self._send)
        except Exception as error:
            # Its type only: the text of a foreign error may hold anything.
            _log.error("the application failed", error=type(error).__name__)
        if not self._ended:
            if self._started or self._connection.closing:
                self._connection.abort()
            else:
                self._connection.end_after()
                self._ended = True
                self._connection.answer(500, b"", b"")

    async def _receive(self) -> Message:
        while True:
            if self._pieces or (self._body.whole and not self._told):
                body = b"".join(self._pieces)
                self._pieces.clear()
                self._size = 0
                self._told = self._body.whole
                self._connection.let_go()
                return {"type": "http.request", "body": body, "more_body": not self._told}
            if self._gone:
                return {"type": "http.disconnect"}
            if self._expects:
                self._expects = False
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._news = self._listener.loop.create_future()
            await self._news

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message["headers"])
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._ended:
            return
        connection = self._connection
        if not self._started:
            self._started = True
            head = self._head(body, more)
            if self._line.method == "HEAD":
                body, more = b"", False
            connection.write(head + (write_chunk(body) if self._chunks else body))
        else:
            connection.write(write_chunk(body) if self._chunks else body)
        if more:
            await connection.drain()
            return
        if self._chunks and self._line.method != "HEAD":
            connection.write(LAST_CHUNK)
        self._ended = True
        connection.answered()

    def _head(self, body: bytes, more: bool) -> bytes:
        """The head of the answer; a body of unknown length goes in chunks, or to a client of 1.0 until it ends."""
        connection = self._connection
        names = {name for name, _value in self._headers}
        bare = self._status in (204, 304)
        headers = [header for header in self._headers if not (bare and header[0] == b"content-length")]
        if b"content-length" not in names and not bare:
            if not more:
                headers.append((b"content-length", b"%d" % len(body)))
            elif self._line.minor:
                self._chunks = True
                headers.append((b"transfer-encoding", b"chunked"))
            else:
                connection.end_after()
        if not self.whole:
            connection.end_after()
        if connection.closing:
            headers.append((b"connection", b"close"))
        date = b"" if b"date" in names else self._listener.date()
        return b"%b%b%b\r\n" % (STATUS_LINES[self._status], write_fields(headers), date)
