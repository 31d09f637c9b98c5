"""The pipeline: the way of every request, written once.

    route -> limits -> caller -> body -> decode -> handler -> audit durable -> answer

Promises: no answer leaves before its audit entry is durable, refusals included; bad input changes nothing; every error
has the one shape of `refusals`; a request that has begun is done to its end even when its client goes away; nothing
secret is logged. The order matters: nothing is read from a caller who is not signed in where a token is asked for.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any, Literal

import msgspec
import structlog

from keystead.audit.strangers import TooManyRefusals
from keystead.core.errors import Fault, KeysteadError, Refusal
from keystead.core.ids import check_region
from keystead.iam.model import Caller
from keystead.web import idempotency
from keystead.web.asked import asked as asked_for
from keystead.web.durable import Durable
from keystead.web.exchange import Answer, Exchange, Face, Header, Wanted
from keystead.web.listener import Answering, Head
from keystead.web.messages import read_body, read_if_match, read_query, unsupported_media_type
from keystead.web.operations import NOTHING, ROOT, Call, Operation, Router, Waits, read_parameters
from keystead.web.patience import Patience
from keystead.web.pools import ELSEWHERE, Pool, busy, keystore_busy, too_many_sign_ins
from keystead.web.proving import caller_of, check_body
from keystead.web.records import entry_of, record, report
from keystead.web.refusals import HttpRefusal, headers_of, reply_to, sealed, status_of
from keystead.web.services import Services
from keystead.web.waits import GenerationWatch

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Entrance = Literal["", "local", "private"]

JSON: Header = (b"content-type", b"application/json")
OCTETS: Header = (b"content-type", b"application/octet-stream")
NO_STORE: Header = (b"cache-control", b"no-store")
NO_SNIFF: Header = (b"x-content-type-options", b"nosniff")
USUAL = b"".join(b"%b: %b\r\n" % header for header in (JSON, NO_STORE, NO_SNIFF))

_log = structlog.get_logger("keystead.web")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker takes on. Bytes, seconds, threads, calls in a queue."""

    body_bytes: int = 1 << 20
    open_body_bytes: int = 16 << 10  # of who has not signed in
    target_bytes: int = 8192
    body_s: float = 30.0
    threads: int = 8
    queue: int = 64
    sign_in_threads: int = 1
    sign_in_queue: int = 16
    in_flight: int = 1024
    wait_s: float = 60.0


class Pipeline:
    """One worker's pipeline. Belongs to one event loop."""

    def __init__(
        self,
        services: Services,
        table: Iterable[Operation],
        limits: Limits,
        faces: Iterable[Face] = (),
        entrance: Entrance = "",
    ) -> None:
        """`faces`: the foreign protocols that are spoken beside our own. `entrance`: by which listener requests come
        in, where it is not the one for everybody; said by who serves, never by a request.
        """
        self._entrance = entrance
        self._services = services
        self._faces = tuple(faces)
        self._limits = limits
        self._router = Router(table)
        self._durable = Durable(services.log)
        self._watch = GenerationWatch(services.generation, services.events)
        self._pool = Pool("web", limits.threads, limits.queue, busy)
        self._first = Pool("first", limits.threads, limits.queue, busy)
        self._elsewhere = {
            where: Pool(where, limits.threads, limits.queue, partial(keystore_busy, where)) for where in ELSEWHERE
        }
        self._sign_ins = Pool("sign-in", limits.sign_in_threads, limits.sign_in_queue, too_many_sign_ins)
        self._patience = Patience(limits.body_s)
        self._ids = count(1)
        self._sealed = services.sealed
        self._worker = secrets.token_hex(6)
        self._in_flight = 0
        self._refusing: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Let what has begun end."""
        for pool in (self._pool, self._first, self._sign_ins, *self._elsewhere.values()):
            pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        client = scope.get("client")
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        exchange = Exchange(scope["method"], raw_path, self._source((client and client[0]) or ""), self._next_id())
        exchange.private = bool(self._entrance)
        self._in_flight += 1
        try:
            answer = await self._serve(exchange, scope, receive, send)
            if answer is None:
                return
        except Exception as error:
            if exchange.started:
                raise  # the status is out; cutting the connection says that the stream is not whole
            answer = await self._refuse(exchange, error)
        finally:
            self._in_flight -= 1
        await self._send(exchange, answer, send)

    # the short way

    def serves_at_once(self, head: Head) -> bool:
        """Whether requests with this head are for cryptography, which the loop does itself."""
        exchange = Exchange(head.method, head.path, "", "")
        try:
            operation = self._route(exchange)
        except KeysteadError:
            return False
        wanted = Wanted(head.headers)
        head.known = (operation, exchange.parameters, wanted)
        return (
            exchange.face is None
            and operation.runs == "loop"
            and operation.auth
            and operation.recorded
            and not operation.takes_access
            and head.length <= self._limits.body_bytes
        )

    def at_once(self, head: Head, body: bytes, to: Answering) -> bool:
        """Serve a whole request for cryptography now, and answer it when its entry is durable.

        False, and nothing was done, when it has to wait for something. No task and no future is made for it.
        """
        if self._durable.failing or self._sealed():
            return False
        exchange = Exchange(head.method, head.path, self._source(to.source), self._next_id())
        exchange.headers = head.headers
        exchange.operation, exchange.parameters, exchange.wanted = head.known
        operation: Operation = head.known[0]
        self._in_flight += 1
        try:
            if self._in_flight > self._limits.in_flight:
                raise busy()
            exchange.caller = self._authenticate(exchange)
            call = self._decode(exchange, operation, b"", body)
            if operation.waits is not None and operation.waits(self._services, call):
                self._in_flight -= 1
                return False
            answer = self._perform(operation, call)
            self._durable.then(partial(self._landed, exchange, answer, to))
        except Exception as error:
            self._refuse_at_once(exchange, error, to)
        return True

    def _landed(self, exchange: Exchange, answer: Answer, to: Answering, error: Exception | None) -> None:
        if error is not None:
            self._refuse_at_once(exchange, error, to)
            return
        self._in_flight -= 1
        self._answer(exchange, answer, to)

    def _refuse_at_once(self, exchange: Exchange, error: Exception, to: Answering) -> None:
        async def refuse() -> None:
            try:
                answer = await self._refuse(exchange, error)
            finally:
                self._in_flight -= 1
            self._answer(exchange, answer, to)

        task = asyncio.get_running_loop().create_task(refuse())
        self._refusing.add(task)
        task.add_done_callback(self._refusing.discard)

    def _answer(self, exchange: Exchange, answer: Answer, to: Answering) -> None:
        fields = b"%bx-request-id: %b\r\n" % (USUAL, exchange.request_id.encode())
        for name, value in answer.headers:
            fields += b"%b: %b\r\n" % (name, value)
        to.answer(answer.status, fields, answer.body)

    def _placed(self, exchange: Exchange, error: Exception) -> Exception:
        """What was not found, when its id says that it is in another region: which one."""
        if isinstance(error, Refusal) and error.code == "NotFound" and not error.recorded:
            try:
                for found in exchange.parameters.values():
                    check_region(found, self._services.region)
            except Refusal as better:
                return better
        return error

    def _source(self, address: str) -> str:
        """From where a request comes: the address of the connection's peer, or the private entrance and that."""
        if not self._entrance:
            return address
        return f"{self._entrance} {address}" if address and self._entrance == "private" else self._entrance

    def _next_id(self) -> str:
        return f"{self._worker}-{next(self._ids):08x}"

    async def _serve(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        exchange.headers, exchange.query = scope["headers"], scope["query_string"]
        operation = self._route(exchange)
        if self._sealed() and not operation.while_sealed:
            raise sealed()
        exchange.wanted = Wanted(scope["headers"])
        if self._in_flight > self._limits.in_flight:
            raise busy()
        if operation.auth:
            exchange.caller = self._authenticate(exchange)
        body = await self._read(exchange, receive, operation)
        check_body(exchange, body)
        call = self._decode(exchange, operation, scope["query_string"], body)
        if self._durable.failing and operation.recorded and not operation.takes_access:
            await self._durable.wait()  # while the audit log cannot be written nothing is begun
        waits = operation.waits(self._services, call) if operation.waits is not None else ""
        match operation.runs:
            case "loop" if not waits:
                answer = self._perform(operation, call)
            case "loop":
                answer = await self._pool_for(operation, waits).run(self._perform, operation, call)
            case "pool" if operation.creates and exchange.wanted.idempotency_key:
                answer = await self._pool_for(operation, waits).run(
                    self._perform_once, exchange, operation, call, scope["query_string"], body
                )
            case "pool":
                answer = await self._pool_for(operation, waits).run(self._perform, operation, call)
            case "sign_in":
                answer = await self._sign_ins.run(self._perform, operation, call)
            case "wait":
                answer = await self._perform_when_moved(operation, call)
            case "stream":
                await self._stream(exchange, operation, call, receive, send)
                return None
        if operation.recorded:
            try:
                await self._durable.wait()
            except Fault:
                if not operation.takes_access:
                    raise
        return answer

    # finding out what is wanted, and by whom

    def _route(self, exchange: Exchange) -> Operation:
        raw = exchange.raw_path
        if len(raw) > self._limits.target_bytes:
            raise HttpRefusal(414, "TargetTooLong", "the request target is too long")
        found = self._router.find(exchange.method, raw.decode("latin-1"))
        if found is None:
            for face in self._faces:
                if face.serves(raw):
                    exchange.face = face
                    exchange.operation = face.route(exchange)
                    return exchange.operation
            raise HttpRefusal(404, "NoSuchOperation", "nothing is served at this path", hint=f"see {ROOT}/openapi.json")
        if found.operation is None:
            allow = ", ".join(found.allowed)
            raise HttpRefusal(
                405,
                "MethodNotAllowed",
                "this method is not served at this path",
                hint=f"methods here: {allow}",
                headers=((b"allow", allow.encode()),),
            )
        exchange.operation = found.operation
        exchange.parameters = read_parameters(found.operation, found.values)
        return found.operation

    def _authenticate(self, exchange: Exchange) -> Caller:
        if exchange.face is not None:
            return exchange.face.caller(self._services, exchange)
        return caller_of(self._services, exchange)

    async def _read(self, exchange: Exchange, receive: Receive, operation: Operation) -> bytes:
        """The whole body, as far as it may be long."""
        limits = self._limits
        limit = limits.body_bytes if operation.auth else min(limits.open_body_bytes, limits.body_bytes)
        length = -1
        given = exchange.wanted.content_length
        if given:
            if not given.isdigit() or len(given) > 18:
                raise Refusal("InvalidParameter", "the Content-Length is not a number")
            length = int(given)
            if length > limit:
                raise _too_large(limit)
            if length == 0:
                return b""
        elif exchange.method in ("GET", "HEAD"):
            return b""
        task = self._patience.begin()
        try:
            body = await self._collect(receive, length, limit)
        except asyncio.CancelledError:
            if self._patience.end(task):
                raise HttpRefusal(408, "BodyTimeout", "the body did not arrive in time") from None
            raise
        except BaseException:
            self._patience.end(task)
            raise
        self._patience.end(task)
        return body

    async def _collect(self, receive: Receive, length: int, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                # Gone, or its framing was broken: then it is still there to be told.
                raise Refusal("MalformedBody", "the body broke off", hint="send all of it, framed as HTTP/1.1 asks")
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            if size == length or not message.get("more_body", False):
                return b"".join((*chunks, chunk)) if chunks else chunk
            chunks.append(chunk)

    def _decode(self, exchange: Exchange, operation: Operation, query: bytes, body: bytes) -> Call[Any, Any]:
        if exchange.face is not None:
            return exchange.face.call(exchange, operation, body)
        read: Any = NOTHING
        wanted = exchange.wanted
        if operation.decoder is not None:
            if body or operation.body_required:
                if not wanted.is_json:
                    raise unsupported_media_type()
                read = read_body(operation.decoder, body)
            else:
                read = operation.request() if operation.request else NOTHING
        elif body.strip() not in (b"", b"{}"):
            raise Refusal("InvalidParameter", "this operation takes no body", hint="send it without one")
        asked = read_query(operation.query, query) if query or operation.query is not None else NOTHING
        seen = read_if_match(wanted.if_match) if wanted.if_match and operation.moves else None
        call = Call(read, asked, exchange.parameters, seen, exchange.request_id, exchange.source, exchange.caller)
        if exchange.caller is not None and exchange.method != "GET" and operation.runs in ("pool", "stream"):
            call.signed_in = replace(exchange.caller, asked=asked_for(operation, call, wanted.approval))
        return call

    # doing it

    def _pool_for(self, operation: Operation, waits: Waits) -> Pool:
        """Where a handler runs. A token or KMS that hangs holds the threads of those who use it, and of nobody else:
        least of all of who takes access away, or has to hear of it.
        """
        if operation.takes_access or operation.first:
            return self._elsewhere.get(waits, self._first)
        return self._elsewhere.get(waits, self._pool)

    def _perform(self, operation: Operation, call: Call[Any, Any]) -> Answer:
        reply = operation.handler(self._services, call)
        if reply is None:
            return Answer(operation.status, b"")
        if isinstance(reply, Answer):  # in a foreign protocol's words
            return reply
        body = _encode(reply)
        version = getattr(reply, "version", None)
        if version is None or not operation.versioned:
            return Answer(operation.status, body)
        return Answer(operation.status, body, ((b"etag", b'"%d"' % version),))

    def _perform_once(
        self, exchange: Exchange, operation: Operation, call: Call[Any, Any], query: bytes, body: bytes
    ) -> Answer:
        """Perform a creating request under its idempotency key. On one thread from note to answer."""
        store = self._services.idempotency
        key = idempotency.check_key(exchange.wanted.idempotency_key)
        mark = idempotency.hash_request(exchange.method, exchange.raw_path, query, body)
        who = call.caller.principal
        found = store.begin(who.tenancy, who.id, key, mark)
        if found is not None:
            idempotency.check_same(found, mark)
            self._services.require_again(call.caller, idempotency.granted_of(found))
            again = "the answer to an earlier request with this Idempotency-Key"
            self._services.log.append(entry_of(self._services, exchange, "allowed", "Replayed", again))
            return Answer(found.status, found.body, ((b"idempotency-replayed", b"true"),))
        try:
            answer = self._perform(operation, call)
        except Refusal:
            store.forget(who.tenancy, who.id, key)
            raise
        kept = idempotency.without_secrets(answer.body, operation.secrets)
        store.finish(who.tenancy, who.id, key, answer.status, kept, idempotency.kept_grants(call.caller))
        return answer

    async def _perform_when_moved(self, operation: Operation, call: Call[Any, Any]) -> Answer:
        """A long poll: answer when there is something newer than the caller knows, or when the wait is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(call.body.wait_ms / 1000, self._limits.wait_s)
        while True:
            seen = self._watch.seen()
            reply = await self._first.run(operation.handler, self._services, call)
            if reply.generation > call.body.known_generation:
                break
            if not await self._watch.moved(seen, deadline - loop.time()):
                break
        return Answer(operation.status, _encode(reply))

    async def _stream(
        self, exchange: Exchange, operation: Operation, call: Call[Any, Any], receive: Receive, send: Send
    ) -> None:
        """Send an iterator of bytes, each chunk made on the pool. The first is made before the status is said."""
        chunks = await self._pool.run(operation.handler, self._services, call)
        gone = asyncio.create_task(_disconnected(receive))
        try:
            chunk = await self._pool.run(next, chunks, None)
            await self._durable.wait()
            exchange.started = True
            await send({"type": "http.response.start", "status": 200, "headers": self._headers(exchange, OCTETS)})
            while chunk is not None and not gone.done():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await self._pool.run(next, chunks, None)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            close = getattr(chunks, "close", None)
            if close is not None:
                await self._pool.run(close)

    # answering

    async def _refuse(self, exchange: Exchange, error: Exception) -> Answer:
        """Record a refusal or failure, unless the guard has, and word it."""
        error = self._placed(exchange, error)
        status = status_of(error)
        if status >= 500 and not isinstance(error, Refusal):
            report(exchange, error)
        if exchange.operation is None or exchange.operation.recorded:
            try:
                error = record(self._services, exchange, error, status)
                status = status_of(error)
                if isinstance(error, TooManyRefusals):
                    self._durable.settle_in(error.retry_s)
                await self._durable.wait()
            except Exception as failure:
                self._durable.failing = True
                if status < 500:
                    report(exchange, failure)
                if status < 500:  # an answer that could not be recorded is not given
                    error, status = failure, status_of(failure)
        if exchange.face is not None:
            return exchange.face.refusal(exchange, error, self._services.clock.now())
        headers = headers_of(error, status, self._services.clock.now())
        return Answer(status, _encode(reply_to(error, exchange.request_id)), tuple(headers))

    def _headers(self, exchange: Exchange, kind: Header) -> list[Header]:
        return [kind, NO_STORE, NO_SNIFF, (b"x-request-id", exchange.request_id.encode())]

    async def _send(self, exchange: Exchange, answer: Answer, send: Send) -> None:
        body = answer.body
        said = any(name == b"content-type" for name, _ in answer.headers)  # a foreign protocol's own
        headers = (
            [NO_STORE, NO_SNIFF, (b"x-request-id", exchange.request_id.encode())]
            if said
            else (self._headers(exchange, JSON))
        )
        headers.append((b"content-length", b"%d" % len(body)))
        headers.extend(answer.headers)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else body})


async def _disconnected(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(limit: int) -> HttpRefusal:
    return HttpRefusal(413, "TooLarge", f"the body is larger than {limit} bytes")
