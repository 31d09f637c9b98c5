"""The key endpoint under overload and garbage while a server runs and rotates: never a byte of an error, nothing stops.

Any 4xx or 5xx may abort a running mariadbd, so every answer to anybody is a 200 with what was asked for, or nothing.
"""

import contextlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.machine import eventually, stop_and_go
from tests.faults.region import Region, System
from tests.faults.test_loss_of_access import ask_for_key, the_server
from tests.faults.writer import Writer

pytestmark = pytest.mark.live

SEED = 6


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with Region.made({"access.grace_seconds": "60"}) as found:
        yield found


class Flood:
    """Threads that connect as fast as they can and send what nobody should; whatever comes back is kept."""

    def __init__(self, port: int, threads: int = 6) -> None:
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]
        self.sent = 0
        self.answers: list[bytes] = []

    def __enter__(self) -> "Flood":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, number: int) -> None:
        chance = random.Random(f"{SEED} {number}")
        idle: list[socket.socket] = []
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):
                asked = socket.create_connection(("127.0.0.1", self._port), 0.5)
                if chance.random() < 0.3:  # says nothing, and stays
                    idle.append(asked)
                    if len(idle) > 40:
                        idle.pop(0).close()
                    continue
                with contextlib.closing(asked):
                    asked.settimeout(0.3)
                    asked.sendall(garbage(chance))
                    self.sent += 1
                    if answer := asked.recv(4096):
                        self.answers.append(answer)
        for each in idle:
            each.close()


def garbage(chance: random.Random) -> bytes:
    """A request that must not be answered."""
    kind = chance.randrange(7)
    token = bytes(chance.choices(b"abcdefghijklmnop", k=40))
    wellformed = b"GET /v1/t/s/data/1 HTTP/1.1\r\nHost: x\r\nX-Vault-Token: %s\r\n\r\n" % token
    match kind:
        case 0:
            return chance.randbytes(chance.randrange(1, 3000))
        case 1:
            return wellformed  # a token that nobody has
        case 2:
            return wellformed[: chance.randrange(1, len(wellformed))]
        case 3:
            return b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\n\r\n"
        case 4:
            return wellformed.replace(b"GET", chance.choice([b"POST", b"PUT", b"DELETE", b"LIST", b"HEAD"]))
        case 5:
            return b"\x16\x03\x01\x02\x00\x01" + chance.randbytes(200)  # TLS
        case _:
            flipped = bytearray(wellformed)
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            return bytes(flipped)


def test_flooded_while_it_runs_and_rotates(region: Region, system: System) -> None:
    server, before, last = the_server(region, system), region.checksum(system), region.fence(system)
    with Writer(region, system) as writer, Flood(region.endpoint_port) as flood:
        for _ in range(3):
            region.done(region.post(f"/db-systems/{system.id}/actions/rotate-data-keys")["job"]["id"])
        writer.wait_more()
        eventually("a real flood", lambda: flood.sent > 500, 30)
    assert flood.answers == [], f"the endpoint answered strangers: {flood.answers[:3]}"
    assert server.alive
    assert region.fence(system) == last
    assert not writer.refusals
    writer.check()
    assert region.checksum(system) == before


def test_flooded_while_a_server_starts(region: Region, system: System) -> None:
    """A start that is refused its keys for want of room is tried again until it succeeds."""
    with Flood(region.endpoint_port, threads=3):
        region.done(region.post(f"/db-systems/{system.id}/actions/restart")["job"]["id"])
        region.wait_state(system, "ACTIVE")
    assert region.checksum(system)


def test_endpoint_gone_for_longer_than_the_server_caches(region: Region, system: System) -> None:
    """While `host` is away nobody answers: the server goes on with the keys that it holds, also to a new binary log."""
    server = the_server(region, system)
    with Writer(region, system) as writer, stop_and_go(region.process("host")):
        region.operator_sql(system, "SET GLOBAL hashicorp_key_management_cache_version_timeout = 0")
        region.operator_sql(system, "SET GLOBAL hashicorp_key_management_timeout = 1")
        for _ in range(3):
            region.operator_sql(system, "FLUSH BINARY LOGS")
        writer.wait_more(5, 60)  # each look for a newer key waits its second, and commits may wait for that
    assert server.alive
    writer.check()
    region.operator_sql(system, "SET GLOBAL hashicorp_key_management_cache_version_timeout = 60000")


def test_vault_away_within_the_grace(region: Region, system: System) -> None:
    """The vault's processes are killed and come back: a server does not notice, not even as one fence too many."""
    before, server = region.fence(system), the_server(region, system)
    with Writer(region, system) as writer:
        for name in ("local", "http"):
            died = region.kill(name)
            region.wait_back(name, died)
        eventually("the vault answers", lambda: region.get("/health")["status"] == "ok", 15)
        writer.wait_more()
    assert server.alive
    assert region.fence(system) == before
    assert not writer.refusals
    writer.check()


def test_keys_are_only_for_the_systems_own_uid(region: Region, system: System) -> None:
    environment = Path(f"/proc/{the_server(region, system).pid}/environ").read_bytes().split(b"\0")
    token = next(word.removeprefix(b"VAULT_TOKEN=") for word in environment if word.startswith(b"VAULT_TOKEN="))
    region.learn("token of a node", token)
    assert b'"data"' in ask_for_key(region, system, token)
    (uid,) = region.rows("SELECT uid FROM db_systems WHERE id = ?", system.id)[0]
    if uid:  # as root; otherwise everything runs as one user
        assert ask_for_key(region, system, token, uid=uid + 1) == b""
        assert ask_for_key(region, system, token, uid=0) == b""
