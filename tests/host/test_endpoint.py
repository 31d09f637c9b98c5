"""The key endpoint: exact answers, or not one byte."""

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.core.secret import Secret
from keystead.host.endpoint import Asked, KeyEndpoint, NodeKeys, loopback_peer_uid, parse_request

pytestmark = pytest.mark.slow

MOUNT = "ks1.tenancy.main.home.aa/ks1.mysqldbsystem.main.home.bb"
TOKEN = "s.token"
KEY = {(1, 3): Secret(b"a" * 32), (1, 5): Secret(b"b" * 32), (2, 4): Secret(b"c" * 32), (1, 6): Secret(b"short")}
KEYS = NodeKeys(KEY, {1: 5, 2: 4}, os.getuid())


def lookup(digest: bytes, mount: str) -> NodeKeys | None:
    if mount == "broken/mount":
        raise RuntimeError("the vault is gone")
    return KEYS if digest == sha256(TOKEN.encode()).digest() and mount == MOUNT else None


def ask(path: str, *, token: str = TOKEN, extra: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nX-Vault-Token: {token}\r\n{extra}\r\n".encode()


async def exchange(port: int, request: bytes, *, pieces: int = 1) -> bytes:
    """What comes back; empty for a reset."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = max(1, -(-len(request) // pieces))
        for start in range(0, len(request), size):
            writer.write(request[start : start + size])
            await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer
    except ConnectionError:
        return b""


def serve(story: Callable[[KeyEndpoint, int], Awaitable[None]], **options: object) -> None:
    async def run() -> None:
        endpoint = KeyEndpoint(lookup, **options)  # type: ignore[arg-type]
        port = await endpoint.start()
        try:
            await story(endpoint, port)
        finally:
            await endpoint.close()

    asyncio.run(run())


def body(answer: bytes) -> object:
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(content)}".encode() in head
    return json.loads(content)


def test_what_the_plugin_asks_for() -> None:
    asked: list[Asked] = []

    async def story(endpoint: KeyEndpoint, port: int) -> None:
        assert body(await exchange(port, ask(f"/v1/sys/mounts/{MOUNT}/tune"))) == {"options": {"version": "2"}}
        latest = body(await exchange(port, ask(f"/v1/{MOUNT}/data/1")))
        assert latest == {"data": {"data": {"data": (b"b" * 32).hex()}, "metadata": {"version": 5}}}
        older = body(await exchange(port, ask(f"/v1/{MOUNT}/data/1?version=3"), pieces=9))
        assert older == {"data": {"data": {"data": (b"a" * 32).hex()}, "metadata": {"version": 3}}}
        other = body(await exchange(port, ask(f"/v1/{MOUNT}/data/2")))
        assert other == {"data": {"data": {"data": (b"c" * 32).hex()}, "metadata": {"version": 4}}}
        assert (endpoint.served, endpoint.dropped) == (4, 0)

    serve(story, on_request=asked.append)
    assert [(each.key_id, each.version, each.served) for each in asked] == [
        (0, 0, True),
        (1, 5, True),
        (1, 3, True),
        (2, 4, True),
    ]


def test_everything_else_is_reset_without_a_byte() -> None:
    good = f"/v1/{MOUNT}/data/1"
    requests = [
        ask(good, token="s.other"),
        ask(good, token=""),
        ask(good).replace(b"X-Vault-Token: s.token\r\n", b""),
        ask(good, extra="X-Vault-Token: s.token\r\n"),
        ask(good, extra="Content-Length: 5\r\n"),
        ask(good, extra="Transfer-Encoding: chunked\r\n"),
        ask(good, extra=" folded: line\r\n"),
        ask(good) + b"more",
        ask(good).replace(b"GET", b"POST"),
        ask(good).replace(b"GET", b"get"),
        ask(good).replace(b"1.1", b"1.0"),
        ask(good).replace(b"\r\n", b"\n"),
        ask(f"/v1/{MOUNT}/data/1?version=4"),
        ask(f"/v1/{MOUNT}/data/1?version=6"),  # a key that is not 32 bytes long
        ask(f"/v1/{MOUNT}/data/1?version=0"),
        ask(f"/v1/{MOUNT}/data/1?version=3&x=1"),
        ask(f"/v1/{MOUNT}/data/3"),
        ask(f"/v1/{MOUNT}/data/01"),
        ask(f"/v1/{MOUNT}/data/"),
        ask(f"/v1/{MOUNT}/data/99999999999"),
        ask(f"/v1/{MOUNT}/metadata/1"),
        ask("/v1/another/system/data/1"),
        ask("/v1/broken/mount/data/1"),
        ask("/v1/sys/health"),
        ask("/"),
        ask(good, extra=f"X-Long: {'x' * 5000}\r\n"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200) + b"\r\n\r\n",
        b"\r\n\r\n",
        b"x" * 5000,
    ]

    async def story(endpoint: KeyEndpoint, port: int) -> None:
        for request in requests:
            assert await exchange(port, request) == b"", request[:120]
        assert endpoint.dropped == len(requests) and endpoint.served == 0
        assert (await exchange(port, ask(good))).startswith(b"HTTP/1.1 200")

    serve(story)


def test_another_uid_or_an_unknown_one_gets_nothing() -> None:
    async def story(endpoint: KeyEndpoint, port: int) -> None:
        assert await exchange(port, ask(f"/v1/{MOUNT}/data/1")) == b""

    serve(story, peer_uid=lambda peer, ours: os.getuid() + 1)
    serve(story, peer_uid=lambda peer, ours: None)


def test_a_key_that_is_wiped_while_it_is_read_is_not_served() -> None:
    calls = []

    def voided_meanwhile(digest: bytes, mount: str) -> NodeKeys | None:
        calls.append(mount)
        return KEYS if len(calls) == 1 else None

    async def run() -> None:
        endpoint = KeyEndpoint(voided_meanwhile)
        port = await endpoint.start()
        assert await exchange(port, ask(f"/v1/{MOUNT}/data/1")) == b""
        await endpoint.close()

    asyncio.run(run())
    assert len(calls) == 2


def test_no_answer_without_its_record() -> None:
    def broken(_: Asked) -> None:
        raise OSError("the audit disk is full")

    async def story(endpoint: KeyEndpoint, port: int) -> None:
        assert await exchange(port, ask(f"/v1/{MOUNT}/data/1")) == b""

    serve(story, on_request=broken)


def test_the_uid_of_a_loopback_peer() -> None:
    async def story(endpoint: KeyEndpoint, port: int) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        peer, ours = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        assert loopback_peer_uid(peer, ours) == os.getuid()
        assert loopback_peer_uid(("127.0.0.1", 1), ours) is None
        writer.close()

    serve(story)


def test_overload_is_reset_and_passes() -> None:
    async def story(endpoint: KeyEndpoint, port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert await exchange(port, ask(f"/v1/{MOUNT}/data/1")) == b""
        for reader, writer in idle:  # they say nothing and are ended by their deadline
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        assert (await exchange(port, ask(f"/v1/{MOUNT}/data/1"))).startswith(b"HTTP/1.1 200")

    serve(story, max_connections=3, seconds=0.1)


def test_closing_resets_what_is_open() -> None:
    async def run() -> None:
        endpoint = KeyEndpoint(lookup)
        port = await endpoint.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0)
        while not endpoint._open:
            await asyncio.sleep(0.001)
        assert endpoint.drop_connections(MOUNT) == 0  # it has not said what it wants
        await endpoint.close()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    asyncio.run(run())


@given(st.binary(max_size=600))
def test_garbage_is_never_a_request(data: bytes) -> None:
    found = parse_request(data + b"\r\n\r\n")
    assert found is None or data.startswith(b"GET /v1/")


_NEAR = st.builds(
    lambda word, at, put: word[: at % len(word)] + put + word[at % len(word) :],
    st.just(ask(f"/v1/{MOUNT}/data/1?version=3")),
    st.integers(min_value=0, max_value=1 << 16),
    st.binary(min_size=1, max_size=8),
)


@settings(max_examples=15)
@given(st.lists(st.one_of(_NEAR, st.binary(min_size=1, max_size=6000)), min_size=20, max_size=20))
def test_fuzz_never_a_byte_of_4xx_or_5xx(requests: list[bytes]) -> None:
    """Whatever is sent, the answer is one of our 200s or nothing, and the endpoint goes on."""

    async def story(endpoint: KeyEndpoint, port: int) -> None:
        answers = await asyncio.gather(*(exchange(port, request) for request in requests))
        for answer in answers:
            assert answer == b"" or answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await exchange(port, ask(f"/v1/{MOUNT}/data/2"))).startswith(b"HTTP/1.1 200")

    serve(story, seconds=0.2)
