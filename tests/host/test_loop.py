"""The machine's event loop: tokens admitted and voided from other threads, on a real endpoint and real ports."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from hashlib import sha256

import pytest
from tests.ports import free_port

from keystead.core.secret import Secret
from keystead.host.endpoint import NodeKeys
from keystead.host.loop import HostLoop

MOUNT, OTHER = "tenancy/one", "tenancy/other"
KEY = bytes(range(32))


class Loop(HostLoop):
    """One that runs, and knows where."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1")
        self.port = self.start(0)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.stop()


def admit(loop: Loop, token: bytes, mount: str = MOUNT) -> NodeKeys:
    keys = NodeKeys({(1, 1): Secret(KEY)}, {1: 1}, os.getuid())
    loop.admit(sha256(token).digest(), mount, keys)
    return keys


def ask(loop: Loop, token: bytes, mount: str = MOUNT) -> bytes | None:
    """The key, or None when the connection is reset without a byte."""
    connection = http.client.HTTPConnection("127.0.0.1", loop.port, timeout=5)
    try:
        connection.request("GET", f"/v1/{mount}/data/1", headers={"X-Vault-Token": token.decode()})
        answer = connection.getresponse()
        assert answer.status == 200
        return bytes.fromhex(json.loads(answer.read())["data"]["data"]["data"])
    except (ConnectionError, http.client.BadStatusLine):
        return None
    finally:
        connection.close()


def test_a_token_opens_its_mount_until_it_is_dismissed(loop: Loop) -> None:
    keys = admit(loop, b"one")
    admit(loop, b"two")
    assert ask(loop, b"one") == KEY
    assert ask(loop, b"one", OTHER) is None
    assert ask(loop, b"unknown") is None
    loop.dismiss(sha256(b"one").digest(), MOUNT)
    loop.dismiss(sha256(b"one").digest(), MOUNT)
    assert ask(loop, b"one") is None
    assert ask(loop, b"two") == KEY
    assert all(secret.reveal() == b"" for secret in keys.versions.values()), "wiped"


def test_voiding_a_mount_forgets_its_tokens_wipes_its_keys_and_leaves_others(loop: Loop) -> None:
    gone = [admit(loop, token) for token in (b"one", b"two")]
    admit(loop, b"three", OTHER)
    loop.void(MOUNT)
    assert ask(loop, b"one") is None
    assert ask(loop, b"two") is None
    assert ask(loop, b"three", OTHER) == KEY
    assert all(secret.reveal() == b"" for keys in gone for secret in keys.versions.values())


def test_a_void_mount_never_answers_while_many_ask(loop: Loop) -> None:
    """Asked without a pause from several threads: after `void` has returned, not one byte."""
    admit(loop, b"one")
    over, warm, late, right = threading.Event(), threading.Event(), [], []

    def hammer() -> None:
        while True:
            was_over = over.is_set()
            found = ask(loop, b"one")
            if found is not None:
                right.append(found == KEY)
                if len(right) >= 20:
                    warm.set()
                if was_over:
                    late.append(found)
            if was_over:
                return

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert warm.wait(10)
    loop.void(MOUNT)
    over.set()
    for thread in threads:
        thread.join(10)
    assert late == []
    assert all(right), "and never a wiped key"


def read_all(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        found = b""
        while piece := client.recv(4096):
            found += piece
        return found


def test_the_responder_takes_a_port_says_why_and_gives_it_back(loop: Loop) -> None:
    port = free_port()
    loop.open(port, "it is INACCESSIBLE")
    assert b"it is INACCESSIBLE" in read_all(port)
    loop.open(port, "for another reason")
    assert b"for another reason" in read_all(port)
    loop.close(port)
    loop.close(port)
    with pytest.raises(ConnectionRefusedError):
        read_all(port)


def test_a_port_that_is_taken_is_an_os_error(loop: Loop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match=r".*"):
            loop.open(taken.getsockname()[1], "x")


def test_stopping_closes_everything() -> None:
    loop = HostLoop("127.0.0.1")
    endpoint, port = loop.start(0), free_port()
    loop.open(port, "x")
    loop.stop()
    for each in (endpoint, port):
        with pytest.raises(ConnectionRefusedError):
            read_all(each)
