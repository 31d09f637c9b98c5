"""The fenced responder's packet, and its bounds."""

import asyncio
import contextlib
import gc
import socket

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.host.responder import MAX_MESSAGE, Refuser, error_packet

MESSAGE = "database system 'flights' is INACCESSIBLE: its key 'finance' is disabled"


def test_the_packet_byte_by_byte() -> None:
    assert error_packet("no") == b"\x05\x00\x00\x00" + b"\xff" + b"\x60\x0c" + b"no"


@given(st.text())
def test_any_message_makes_one_sound_packet(message: str) -> None:
    packet = error_packet(message)
    assert int.from_bytes(packet[:3], "little") == len(packet) - 4 <= MAX_MESSAGE + 3
    text = packet[7:].decode()
    assert "\n" not in text and "\x00" not in text


async def answered(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_every_client_gets_it_and_the_end() -> None:
    async def story() -> None:
        refuser = Refuser(MESSAGE)
        port = await refuser.start("127.0.0.1", 0)
        assert await answered(port) == error_packet(MESSAGE)
        refuser.say("another reason")
        assert await answered(port) == error_packet("another reason")
        with pytest.raises(pymysql.OperationalError) as refused:
            await asyncio.to_thread(pymysql.connect, host="127.0.0.1", port=port, user="x", password="y")
        assert refused.value.args == (3168, "another reason")
        await refuser.close()
        with pytest.raises(OSError):
            await answered(port)

    asyncio.run(story())


def test_a_client_that_talks_first_still_reads_it() -> None:
    async def story() -> None:
        refuser = Refuser(MESSAGE)
        port = await refuser.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
        assert await reader.read() == error_packet(MESSAGE)
        writer.close()
        await refuser.close()

    asyncio.run(story())


def test_bounded() -> None:
    async def story() -> None:
        refuser = Refuser(MESSAGE, max_connections=2, seconds=0.05)
        port = await refuser.start("127.0.0.1", 0)
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert [await reader.read() for reader, _ in idle] == [error_packet(MESSAGE)] * 2
        assert await answered(port) == b""  # the third finds no room
        while refuser._open:
            await asyncio.sleep(0.01)  # the idle ones are ended
        assert await answered(port) == error_packet(MESSAGE)
        for _, writer in idle:
            writer.close()
        await refuser.close()

    asyncio.run(story())


def test_a_port_in_use() -> None:
    async def story() -> None:
        first, second = Refuser(MESSAGE), Refuser(MESSAGE)
        port = await first.start("127.0.0.1", 0)
        with pytest.raises(OSError):
            await second.start("127.0.0.1", port, tries=2)
        await first.close()

    asyncio.run(story())


@pytest.mark.parametrize("turns", range(6))
def test_who_connects_while_it_closes_is_not_left_waiting(turns: int) -> None:
    async def story() -> None:
        refuser = Refuser(MESSAGE)
        port = await refuser.start("127.0.0.1", 0)
        with socket.create_connection(("127.0.0.1", port)) as client:
            for _ in range(turns):  # the connection is in the kernel's queue, accepted, or made
                await asyncio.sleep(0)
            await refuser.close()
            client.settimeout(3)
            with contextlib.suppress(ConnectionError):
                await asyncio.to_thread(client.recv, 100)

    gc.disable()  # it would close what was forgotten, at some time
    try:
        asyncio.run(story())
    finally:
        gc.enable()
