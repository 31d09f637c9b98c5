"""The listener on real sockets: order, framing, what is remembered, who is let go."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keystead.web import listener as listening
from keystead.web.listener import Answering, Head, Listener

PATIENCE = 10.0


class Echo:
    """Answers with what it was asked; POST /fast is served at once, after `hold` was let go."""

    def __init__(self) -> None:
        self.at_once_count = 0
        self.refuse = False
        self.waiting: list[Callable[[], None]] = []
        self.hold = False

    def serves_at_once(self, head: Head) -> bool:
        return head.path == b"/fast"

    def at_once(self, head: Head, body: bytes, to: Answering) -> bool:
        if self.refuse:
            return False
        self.at_once_count += 1
        if self.hold:
            self.waiting.append(lambda: to.answer(200, b"x-way: short\r\n", body))
        else:
            to.answer(200, b"x-way: short\r\n", body)
        return True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/early":
            await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        if scope["path"] == "/bug":
            raise ValueError("no")
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                body, more = b"broken", False
            else:
                body, more = body + message["body"], message["more_body"]
        headers = [(b"x-target", scope["raw_path"] + b"?" + scope["query_string"])]
        if scope["path"] != "/chunks":
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in (body[:2], body[2:]):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})


def run(work: Callable[[Echo, "Client"], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            app = Echo()
            server = Listener(app)
            bound = socket.create_server(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            server.listen(bound)
            client = Client(*await asyncio.open_connection("127.0.0.1", port), server, port)
            try:
                await work(app, client)
            finally:
                client.writer.close()
                await server.stop(1.0)

    asyncio.run(limited())


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Listener, port: int) -> None:
        self.reader, self.writer, self.server, self.port = reader, writer, server, port

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body of an answer with a content-length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head.split()[1]), head, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        return await self.reader.read()


def post(path: bytes, body: bytes, *more: bytes) -> bytes:
    fields = b"".join(b"%b\r\n" % one for one in (b"Host: x", b"Content-Length: %d" % len(body), *more))
    return b"POST %b HTTP/1.1\r\n%b\r\n%b" % (path, fields, body)


async def hang(app: Echo, client: Client) -> None:
    """Have a request served at once, and not answered before `app.waiting` is called."""
    app.hold = True
    client.send(post(b"/fast", b"0"))
    await client.answer()
    client.send(post(b"/fast", b"1"))
    while not app.waiting:
        await asyncio.sleep(0)


async def crowd(port: int, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """So many connections at once; whoever listens has not taken them yet."""
    return list(await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(count))))


async def settle() -> None:
    """Long enough for a listener that takes one connection per turn to take all that there are."""
    for _ in range(100):
        await asyncio.sleep(0)


def test_who_has_a_few_connections_leaves_the_next_to_other_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "PACE_S", 3600.0)

    async def work(_app: Echo, client: Client) -> None:
        others = await crowd(client.port, 10)  # besides the client's own
        await settle()
        assert len(client.server.connections) == listening.FEW
        for _reader, writer in others:
            writer.close()

    run(work)


def test_in_time_all_are_taken_by_one_worker_when_there_is_no_other() -> None:
    async def work(_app: Echo, client: Client) -> None:
        for _reader, writer in await crowd(client.port, 10):
            writer.close()
        for reader, writer in await crowd(client.port, 10):
            writer.write(post(b"/fast", b"x"))
            assert (await reader.readline()).split()[1] == b"200"
            writer.close()

    run(work)


def test_the_same_head_again_is_served_at_once() -> None:
    async def work(app: Echo, client: Client) -> None:
        for number, body in enumerate((b"one", b"two", b"six")):
            client.send(post(b"/fast", body))
            status, head, got = await client.answer()
            assert (status, got) == (200, body) and (b"x-way: short" in head) is (number > 0)
        client.send(post(b"/fast", b"longer"))  # another head: its length differs
        assert b"x-way" not in (await client.answer())[1]
        assert app.at_once_count == 2

    run(work)


def test_in_pieces_it_goes_the_long_way_and_is_the_same() -> None:
    async def work(app: Echo, client: Client) -> None:
        whole = post(b"/fast", b"body")
        client.send(whole)
        await client.answer()
        for cut in (1, 10, len(whole) - 4, len(whole) - 1):
            client.send(whole[:cut])
            await asyncio.sleep(0.01)
            client.send(whole[cut:])
            assert (await client.answer())[2] == b"body"
        assert app.at_once_count == 0
        client.send(whole)
        assert b"x-way" in (await client.answer())[1]

    run(work)


def test_requests_that_follow_are_answered_in_order() -> None:
    async def work(app: Echo, client: Client) -> None:
        await hang(app, client)
        client.send(post(b"/slow", b"2") + post(b"/fast", b"3") + post(b"/slow", b"4"))
        await asyncio.sleep(0.01)
        app.hold = False
        app.waiting.pop()()
        assert [(await client.answer())[2] for _ in range(4)] == [b"1", b"2", b"3", b"4"]

    run(work)


def test_what_cannot_be_served_at_once_now_goes_the_long_way() -> None:
    async def work(app: Echo, client: Client) -> None:
        for refuse in (False, True):
            app.refuse = refuse
            client.send(post(b"/fast", b"same"))
            status, head, body = await client.answer()
            assert (status, body) == (200, b"same") and b"x-way" not in head

    run(work)


def test_a_client_that_says_it_stays_is_served_at_once_too() -> None:
    async def work(app: Echo, client: Client) -> None:
        for _ in range(2):
            client.send(post(b"/fast", b"same", b"Connection: keep-alive"))
            await client.answer()
        assert app.at_once_count == 1

    run(work)


@pytest.mark.parametrize(
    "field",
    [b"Transfer-Encoding: chunked", b"Connection: close", b"Expect: 100-continue", b"Upgrade: h2c", b"DPoP: a.b.c"],
)
def test_a_head_that_frames_otherwise_is_not_remembered(field: bytes) -> None:
    async def work(_app: Echo, client: Client) -> None:
        client.send(b"POST /fast HTTP/1.1\r\nHost: x\r\n%b\r\n" % field)
        client.send(b"Content-Length: 0\r\n\r\n" if b"Transfer" not in field else b"\r\n0\r\n\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        assert not client.server.heads

    run(work)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /fast HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /fast HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"POST /fast HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST /fast HTTP/1.1\r\n\r\n",
        b"POST /fast HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
        b"POST /fast HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"POST /fa st HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(head: bytes) -> None:
    async def work(app: Echo, client: Client) -> None:
        client.send(head)
        said = await client.rest()
        assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 501", b"HTTP/1.1 505")), said
        assert b"connection: close" in said.lower() and not app.at_once_count

    run(work)


def test_chunks_both_ways_and_raw_targets() -> None:
    async def work(_app: Echo, client: Client) -> None:
        client.send(b"LIST //chunks%2F/../x?a=%20b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        _, head, body = await client.answer()
        assert b"x-target: //chunks%2F/../x?a=%20b\r\n" in head and body == b"abcde"
        client.send(b"GET /chunks HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz")
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"chunked" in head.lower()
        assert await client.reader.readuntil(b"0\r\n\r\n") == b"2\r\nxy\r\n1\r\nz\r\n0\r\n\r\n"

    run(work)


def test_head_expectation_and_a_bug() -> None:
    async def work(_app: Echo, client: Client) -> None:
        client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"content-length: 0" in (await client.reader.readuntil(b"\r\n\r\n")).lower()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        client.send(b"ok")
        assert (await client.answer())[2] == b"ok"
        client.send(b"GET /bug HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer())[0] == 500

    run(work)


def test_an_answer_before_the_whole_body_arrives_and_the_connection_ends() -> None:
    async def work(_app: Echo, client: Client) -> None:
        client.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        said = await client.rest()
        assert said.startswith(b"HTTP/1.1 413") and b"connection: close" in said.lower()

    run(work)


def test_a_body_that_breaks_off_is_told_to_the_application() -> None:
    async def work(_app: Echo, client: Client) -> None:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert b"broken" in await client.rest()

    run(work)


def test_who_has_finished_speaking_is_answered() -> None:
    async def work(app: Echo, client: Client) -> None:
        await hang(app, client)
        client.writer.write_eof()
        await asyncio.sleep(0.01)
        app.waiting.pop()()
        assert (await client.rest()).endswith(b"\r\n\r\n1")

    run(work)


def test_who_sends_nothing_or_half_a_head_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HEAD_S", 0.05), ("IDLE_S", 0.05), ("SWEEP_S", 0.02)):
        monkeypatch.setattr(listening, name, value)

    async def work(_app: Echo, client: Client) -> None:
        assert await client.rest() == b""
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET / HT")
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()

    run(work)


def test_stopping_lets_what_has_begun_end() -> None:
    async def work(app: Echo, client: Client) -> None:
        await hang(app, client)
        stopping = asyncio.create_task(client.server.stop(5.0))
        await asyncio.sleep(0.01)
        assert not stopping.done()
        app.waiting.pop()()
        assert (await client.rest()).endswith(b"\r\n\r\n1")
        await stopping
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", client.port)

    run(work)
