"""The HTTP server of one event loop: connections, serving one application.

    bytes -> the same head again, and all of its body?  -> at once, by the application's `at_once`
             else h11 reads them                        -> a task that runs the ASGI application

h11 reads everything that strangers send (RFC 9110, RFC 9112); nothing here takes a message apart. What it has read once
need not be read again: clients repeat themselves, so a head that leads to a request served at once is remembered by its
bytes, with what h11 made of it. A head of the very same bytes frames its body in the very same way.

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
from collections.abc import Awaitable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol

import h11
import structlog

from keystead.web.asgi import HEAD_LIMIT, HttpExchange, Receive, Scope, Send, malformed, target_of
from keystead.web.exchange import Header

CONNECTIONS: Final = 1000
"""Of one worker. More wait to be accepted."""
FEW: Final = 2
PACE_S: Final = 0.001
"""Between connections, for a worker that has a few: others listen at the same socket, and are to come to theirs. Who is
awake when many come at once would else have them all, while other cores have nothing to do."""
HEAD_S: Final = 30.0
IDLE_S: Final = 120.0
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 16 << 20
SWEEP_S: Final = 2.0
BUFFER: Final = 128 * 1024
"""Bytes of requests that follow, held until the one under way is answered."""
HEADS_KEPT: Final = 2048
KEPT_BYTES: Final = 8192  # longer heads are not remembered
STATUS_LINES: Final = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}

_log = structlog.get_logger("keystead.web")


class Head:
    """The head of a request that may be served at once, as h11 read it. `known`: what the application found out."""

    __slots__ = ("headers", "known", "length", "method", "path")

    def __init__(self, method: str, path: bytes, headers: tuple[Header, ...], length: int) -> None:
        self.method, self.path, self.headers, self.length = method, path, headers, length
        self.known: Any = None


class Answering(Protocol):
    """Where an answer to a request served at once goes."""

    source: str

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """Send it. `fields`: header fields with their CRLFs, but for content-length and date."""
        ...


class Application(Protocol):
    """An ASGI application that serves some requests at once."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...

    def serves_at_once(self, head: Head) -> bool:
        """Whether requests with this head are of the kind that is served at once; cheap."""
        ...

    def at_once(self, head: Head, body: bytes, to: Answering) -> bool:
        """Serve a whole request now and `to.answer` it, soon; False: not now, and nothing was done."""
        ...


class Listener:
    """Serves `app` on listening sockets, on the running loop, until `stop`."""

    def __init__(self, app: Application, context: ssl.SSLContext | None = None) -> None:
        self.app = app
        self.loop = asyncio.get_running_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()
        self.stopping = False
        self.heads: dict[bytes, Head] = {}
        self._context = context
        self._sockets: list[socket.socket] = []
        self._accepting = False
        self._pause: asyncio.TimerHandle | None = None
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
        while self._sockets:
            self._sockets.pop().close()
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

    def remember(self, raw: bytes, head: Head) -> None:
        """A head of these bytes is this one."""
        if len(raw) > KEPT_BYTES or not self.app.serves_at_once(head):
            return
        if len(self.heads) >= HEADS_KEPT:
            self.heads.clear()
        self.heads[raw] = head

    def date(self) -> bytes:
        """The Date of now (RFC 9110, 6.6.1)."""
        now = int(time.time())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True).encode())
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
        if self._accepting or self._pause is not None or self.stopping:
            return
        self._accepting = True
        for listening in self._sockets:
            self.loop.add_reader(listening, self._accept, listening)

    def _accept_no_more(self) -> None:
        self._accepting = False
        for listening in self._sockets:
            self.loop.remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
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
        held = len(self.connections) + len(self._welcomes)
        if held >= CONNECTIONS:
            self._accept_no_more()
        elif held >= FEW:
            self._accept_no_more()
            self._pause = self.loop.call_later(PACE_S, self._accept_again)

    def _accept_again(self) -> None:
        self._pause = None
        self._accept_more()

    async def _welcome(self, accepted: socket.socket) -> None:
        patience = HEAD_S if self._context is not None else None
        try:
            await self.loop.connect_accepted_socket(
                lambda: Connection(self), accepted, ssl=self._context, ssl_handshake_timeout=patience
            )
        except (OSError, asyncio.CancelledError):  # a handshake that came to nothing
            accepted.close()

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
        self._http: h11.Connection | None = None  # made when a message has to be read
        self._busy = False  # a request served at once is under way
        self._exchange: HttpExchange | None = None  # one that a task serves
        self._kept = b""  # arrived meanwhile
        self._begun = b""  # what has come of a head that is not whole
        self._ending = False
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
        self._ending = True
        exchange = self._exchange
        if exchange is not None and not exchange.whole:
            exchange.lost()
        # Who has only finished speaking is answered; a secured connection cannot be half closed.
        under_way = self._busy or exchange is not None
        return under_way and self._transport is not None and self._transport.get_extra_info("sslcontext") is None

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
        if self._busy or (exchange is not None and exchange.whole):
            self._kept = self._kept + data if self._kept else data
            if len(self._kept) > BUFFER:
                self.hold()
        elif exchange is not None:
            self._read(exchange.http, data)
        elif self._begun or not self._serve_at_once(data):
            self._begin(data)

    # requests

    def _serve_at_once(self, data: bytes) -> bool:
        """Serve `data` when it is one whole request with a head that was met before."""
        end = data.find(b"\r\n\r\n", 0, KEPT_BYTES) + 4
        head = self._listener.heads.get(data[:end])
        if head is None or len(data) != end + head.length or self._ending:
            return False
        self._busy = True  # before: it may be answered while it is served
        if self._listener.app.at_once(head, data[end:], self):
            return True
        self._busy = False
        return False

    def _begin(self, data: bytes) -> None:
        """Let h11 read the beginning of a request."""
        http = self._http
        if http is None:
            http = self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._begun += data
        self._read(http, data)

    def _read(self, http: h11.Connection, data: bytes) -> None:
        try:
            http.receive_data(data)
            self._advance(http)
        except h11.RemoteProtocolError as error:
            if self._exchange is not None:
                self._exchange.lost()
            else:
                self._tell(*malformed(error))

    def _advance(self, http: h11.Connection) -> None:
        """Take what h11 has read. Raises: h11.RemoteProtocolError."""
        while self._transport is not None:
            event = http.next_event()
            if isinstance(event, h11.Request):
                self._open(http, event)
            elif isinstance(event, h11.Data) and self._exchange is not None:
                if self._exchange.take(bytes(event.data)):
                    self.hold()
            elif isinstance(event, h11.EndOfMessage) and self._exchange is not None:
                self._exchange.complete()
            else:  # more is needed, or the one under way is to be answered first
                return

    def _open(self, http: h11.Connection, request: h11.Request) -> None:
        if request.http_version[:2] != b"1.":
            raise h11.RemoteProtocolError("not HTTP/1", error_status_hint=505)
        if (
            len(self._begun) > HEAD_LIMIT and self._begun.find(b"\r\n\r\n", 0, HEAD_LIMIT) < 0
        ):  # h11 lets it, when whole
            raise h11.RemoteProtocolError("too long", error_status_hint=431)
        listener = self._listener
        method, (path, query) = request.method.decode("ascii"), target_of(request.target)
        headers: tuple[Header, ...] = tuple((bytes(name), bytes(value)) for name, value in request.headers)
        self._learn(method, path, query, headers, request.http_version)
        self._exchange = exchange = HttpExchange(self, http, method, request.http_version, headers)
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode("ascii"),
            "method": method,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "client": (self.source, 0) if self.source else None,
        }
        task = listener.loop.create_task(exchange.run(listener.app, scope))
        listener.tasks.add(task)
        task.add_done_callback(listener.tasks.discard)

    def _learn(self, method: str, path: bytes, query: bytes, headers: tuple[Header, ...], version: bytes) -> None:
        """Remember the head that was read, when requests with it can be served at once."""
        begun, self._begun = self._begun, b""
        end = begun.find(b"\r\n\r\n") + 4
        found = dict(headers)
        special = (b"transfer-encoding", b"expect", b"upgrade", b"dpop", b"x-date", b"date")
        length = found.get(b"content-length", b"")
        stays = found.get(b"connection", b"keep-alive").strip().lower() == b"keep-alive"
        usual = stays and not any(name in found for name in special)  # else framed otherwise, or signed and never again
        if end < 4 or query or version != b"1.1" or not length.isdigit() or not usual:
            return
        self._listener.remember(begun[:end], Head(method, path, headers, int(length)))

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """The whole answer to the request that is served at once (`Answering`)."""
        self._busy = False
        transport = self._transport
        if transport is None:
            return
        close = b"connection: close\r\n" if self._ending else b""
        transport.write(
            b"%b%bcontent-length: %d\r\ndate: %b\r\n%b\r\n%b"
            % (STATUS_LINES[status], fields, len(body), self._listener.date(), close, body)
        )
        self._next()

    def answered(self) -> None:
        """The answer that a task gave has been written: go on with what follows."""
        exchange, self._exchange = self._exchange, None
        if self._transport is None or exchange is None:
            return
        http = exchange.http
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            if exchange.whole:
                self._transport.close()
            else:
                self._linger()
            return
        try:
            http.start_next_cycle()
        except h11.ProtocolError:
            self.abort()
            return
        rest, _closed = http.trailing_data
        if rest:  # began before this one was answered
            self._http = None
            self._kept = bytes(rest) + self._kept
        self._next()

    def _next(self) -> None:
        """What follows is looked at in a turn of its own."""
        transport = self._transport
        if transport is None:
            return
        if self._ending:
            transport.close()
            return
        self._since = self._listener.loop.time()
        self.let_go()
        if self._kept:
            self._listener.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._kept and not self._busy and self._exchange is None and self._transport is not None:
            kept, self._kept = self._kept, b""
            self.data_received(kept)

    def _tell(self, status: int, said: bytes) -> None:
        """What is no request is answered as such, and the connection ends: nobody has asked for anything."""
        self._ending = True
        transport = self._transport
        if transport is not None:
            fields = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(said)
            transport.write(b"%b%bdate: %b\r\n\r\n%b" % (STATUS_LINES[status], fields, self._listener.date(), said))
            self._linger()

    # writing and ending

    def write(self, data: bytes) -> None:
        """Send. What the client does not take yet is kept; `drain` waits for it."""
        if self._transport is not None and data:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client takes more."""
        if self._full is not None:
            await self._full

    def date(self) -> bytes:
        """The Date of now."""
        return self._listener.date()

    @property
    def ending(self) -> bool:
        """Whether the connection ends after the answer under way."""
        return self._ending

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
        self._ending = True
        if not self._busy and self._exchange is None and not self._lingering and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def look(self, now: float) -> None:
        """End what has waited for too long."""
        if self._busy or self._exchange is not None or self._transport is None:
            return
        waited = now - self._since
        if self._lingering:
            if waited > LINGER_S:
                self._transport.abort()
        elif self._begun and waited > HEAD_S:
            self._tell(408, b'{"code":"RequestTimeout","message":"the request did not arrive in time","hint":""}')
        elif waited > IDLE_S:
            self._transport.close()

    def _linger(self) -> None:
        """Close so that the answer arrives: closing on bytes that were not read would take it away (RFC 9112, 9.6)."""
        transport = self._transport
        if transport is None:
            return
        self._lingering = True
        self._since = self._listener.loop.time()
        self._kept = self._begun = b""
        self.let_go()
        if transport.can_write_eof():
            transport.write_eof()
