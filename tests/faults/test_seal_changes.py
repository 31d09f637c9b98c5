"""The seal is changed while the region serves, and the root key while its databases do."""

import base64
import json
import threading
import time

import pytest
from tests.faults.machine import eventually
from tests.faults.region import Region, System
from tests.faults.test_loss_of_access import the_server
from tests.faults.writer import Writer

pytestmark = [pytest.mark.live, pytest.mark.timeout(400)]
PAUSE = 0.02


class Users:
    """Two who unwrap, one request after the other, until told to stop."""

    def __init__(self, region: Region, key: str) -> None:
        self._region, self._key = region, key
        self._clear = base64.b64encode(b"k" * 32).decode()
        self._blob = region.post(f"/keys/{key}/actions/wrap", {"key_material": self._clear})["ciphertext"]
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]
        self.served = 0
        self.failures: list[str] = []

    def __enter__(self) -> "Users":
        for thread in self._threads:
            thread.start()
        self.wait_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def wait_more(self, count: int = 5) -> None:
        wanted = self.served + count
        eventually("more is unwrapped", lambda: self.served >= wanted, 30)

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE):
            try:
                found = self._region.post(f"/keys/{self._key}/actions/unwrap", {"ciphertext": self._blob})
                assert found["key_material"] == self._clear
                self.served += 1
            except Exception as error:
                self.failures.append(repr(error))


def seal(region: Region, *words: str, stdin: str = "") -> dict:
    """`keystead seal ...`; what it says holds secrets by design."""
    told = region.cli("--json", "seal", *words, "--state", str(region.state), stdin=stdin, quiet=True)
    return json.loads(told)


def slots(region: Region) -> dict[str, str]:
    return {slot["kind"]: slot["id"] for slot in seal(region, "list")["slots"]}


def test_nobody_notices_that_slots_come_and_go(region: Region, key: str) -> None:
    """Added, exchanged, taken away, under load: not one request fails, and no process is another one."""
    assert region.up_process is not None
    names = ("http", "local", "work", "host")
    before = {name: region.process(name).pid for name in names}
    moved = region.base / "moved.key"
    with Users(region, key) as users:
        shares = seal(region, "add", "shares", "--shares", "2/3", "--with", "key-file")["shares"]
        users.wait_more()
        seal(region, "migrate", slots(region)["key-file"], "key-file", "--to", str(moved), "--with", "key-file")
        users.wait_more()
        seal(region, "remove", slots(region)["passphrase"], "--with", "shares", "--stdin", stdin="\n".join(shares[:2]))
        users.wait_more()
        seal(region, "remove", slots(region)["shares"], "--with", "key-file")
        users.wait_more()
    assert users.failures == []
    assert {name: region.process(name).pid for name in names} == before
    assert set(slots(region)) == {"key-file"}
    region.down()
    region.up()


def test_databases_serve_while_the_root_key_is_replaced(region: Region, system: System, key: str) -> None:
    """The region is down for it, its servers are not: not one row is refused, and the fence holds afterwards."""
    server = the_server(region, system)
    generation = seal(region, "list")["generation"]
    with Writer(region, system) as writer:
        began = time.monotonic()
        region.down()
        others = [ident for kind, ident in slots(region).items() if kind != "key-file"]
        drop = [word for ident in others for word in ("--drop", ident)]
        done = seal(region, "rotate", "--with", "key-file", *drop)
        writer.wait_more()
        region.up()
        region.sign_in()
        print(f"nobody was answered for {time.monotonic() - began:.1f} s")
        writer.wait_more()
    assert done["generation"] == generation + 1 and done["wrapped"]["key versions"] > 0
    assert writer.refusals == []
    writer.check()
    assert server.alive, "the server was another one meanwhile"
    region.wait_state(system, "ACTIVE")
    region.disable(key)
    region.wait_state(system, "INACCESSIBLE", 40)
    eventually("the server is gone", lambda: not server.alive, 15)
    region.enable(key)
    region.wait_state(system, "ACTIVE", 40)
    with Writer(region, system) as writer:
        writer.wait_more()
    writer.check()
