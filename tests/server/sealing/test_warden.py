"""The first process and its seal: who asks is answered, phases change, the root key is forgotten."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from shamir_mnemonic.share import Share as Words
from tests.fakes.wrapper import FakeWrapper
from tests.server.sealing.test_slots import key_file_of, nothing, recorded

from keystead.core.clock import ManualClock, SystemClock
from keystead.core.errors import Refusal, Unavailable
from keystead.crypto.shares import Share
from keystead.seal.attempt import TRIES
from keystead.seal.openers import NewShares, WrappingKey
from keystead.seal.service import RootKey
from keystead.server.process.supervise import Task
from keystead.server.sealing import mark, slots, warden
from keystead.server.sealing.unseal import APART_SECONDS, Apart, open_root
from keystead.server.sealing.warden import PARTING_SECONDS, RETRY_SECONDS, Warden
from keystead.server.settings import Effective

OPEN, SEALED = Task("open", nothing), Task("sealed", nothing)


class Watched:
    """A warden whose ticks the test makes, with the root keys it was given."""

    def __init__(self, region: Effective, root: RootKey | None) -> None:
        self.clock = ManualClock()
        self.roots: list[RootKey] = []
        self.parted: list[bytes] = []
        self.warden = Warden(region, root, self.clock, self._open, lambda: [SEALED], self._part)

    def _open(self, root: RootKey) -> Sequence[Task]:
        self.roots.append(root)
        return [OPEN]

    def _part(self, root: RootKey) -> None:
        self.parted.append(root.subkey("audit").reveal())

    def settle(self) -> list[Task] | None:
        assert self.warden.tick() is None, "who asked gets the answer first"
        self.clock.advance(PARTING_SECONDS)
        return self.warden.tick()


@pytest.fixture
def given(region: Effective) -> NewShares:
    made = NewShares(2, 3)
    slots.add(region, key_file_of(region), made, nothing, SystemClock())
    return made


@pytest.fixture
def short(region: Effective, tmp_path: Path) -> Effective:
    """The region with a runtime directory that sockets fit into."""
    listen = msgspec.structs.replace(region.settings.listen, runtime_dir=f"/tmp/keystead-warden-{os.getpid()}")
    return Effective(msgspec.structs.replace(region.settings, listen=listen), region.file, region.state)


@contextmanager
def watched(region: Effective, root: RootKey | None) -> Iterator[Watched]:
    made = Watched(region, root)
    try:
        yield made
    finally:
        made.warden.close()


def share(made: NewShares, number: int) -> dict[str, str]:
    return {"do": "give", "kind": "share", "secret": made.shares[number - 1].text.reveal().decode()}


def test_sealed_until_there_are_enough(short: Effective, given: NewShares) -> None:
    with watched(short, None) as found:
        assert (found.warden.phase, found.warden.tasks()) == ("sealed", [SEALED])
        told = found.warden.answer(share(given, 3))
        assert told["sealed"] and told["progress"][0]["given"] == [3]
        assert found.warden.answer({"do": "reset"})["progress"][0]["given"] == []
        found.warden.answer(share(given, 1))
        assert not found.warden.answer(share(given, 2))["sealed"]
        assert found.settle() == [OPEN]
        assert found.roots[0].subkey("audit") == open_root(short).subkey("audit")
        assert recorded(short)[-1] == ("UnsealRegion", "opened with share")
        with pytest.raises(Refusal) as caught:
            found.warden.answer(share(given, 1))
        assert caught.value.code == "NotSealed"


def forged_like(real: Share) -> str:
    """A share that says of itself what `real` does, and holds something else: its set and number are no secret."""
    words = Words.from_mnemonic(real.text.reveal().decode())
    return str(replace(words, value=bytes(len(words.value))).mnemonic())


def code_of(found: Watched, asked: dict[str, str]) -> str:
    try:
        found.warden.answer(asked)
    except Refusal as refusal:
        return refusal.code
    return ""


def near(made: NewShares, number: int) -> dict[str, object]:
    return {**share(made, number), "near": True}


def test_strangers_neither_use_up_nor_spoil_nor_reset_what_is_given_here(short: Effective, given: NewShares) -> None:
    forged = {**share(given, 2), "secret": forged_like(given.shares[1])}
    with watched(short, None) as found:
        assert found.warden.answer(near(given, 1))["progress"][0]["given"] == [1]
        assert code_of(found, forged) == "WrongShare"  # it completes what strangers may spoil
        found.warden.answer({"do": "reset"})
        assert "TooManyTries" in {code_of(found, forged) for _ in range(int(TRIES))}
        assert found.warden.answer({"do": "status"})["progress"][0]["given"] == [1]
        assert not found.warden.answer(near(given, 2))["sealed"]


def test_what_is_given_here_and_elsewhere_opens_together(short: Effective, given: NewShares) -> None:
    with watched(short, None) as found:
        found.warden.answer(share(given, 3))
        assert not found.warden.answer(near(given, 1))["sealed"]


def test_who_is_here_resets_everything(short: Effective, given: NewShares) -> None:
    with watched(short, None) as found:
        found.warden.answer(near(given, 1))
        found.warden.answer({"do": "reset"})
        assert found.warden.answer({"do": "status"})["progress"][0]["given"] == [1]
        assert found.warden.answer({"do": "reset", "near": True})["progress"][0]["given"] == []


def test_sealing_forgets_the_root_key_and_outlives_a_restart(short: Effective, given: NewShares) -> None:
    root = open_root(short)
    with watched(short, root) as found:
        assert found.warden.tasks() == [OPEN]
        told = found.warden.answer({"do": "seal", "by": "olivia"})
        assert (told["sealed"], told["ordered"], told["by"]) == (True, True, "olivia")
        assert len(found.parted) == 1
        assert found.settle() == [SEALED]
        with pytest.raises(Unavailable):
            root.subkey("audit")
    assert (order := mark.read(short.state)) is not None and order.by == "olivia"
    with watched(short, None) as found:
        found.warden.answer(share(given, 1))
        found.warden.answer(share(given, 2))
        assert mark.read(short.state) is None
        assert found.settle() == [OPEN]


def test_sealing_twice_is_sealing_once(short: Effective) -> None:
    with watched(short, open_root(short)) as found:
        found.warden.answer({"do": "seal", "by": "olivia"})
        found.settle()
        found.warden.answer({"do": "seal", "by": "oscar"})
        assert found.settle() is None
        order = mark.read(short.state)
        assert order is not None and order.by == "olivia"


def test_what_cannot_be_recorded_is_not_opened(short: Effective, given: NewShares) -> None:
    (short.state / "state.db").rename(short.state / "gone.db")
    with watched(short, None) as found:
        found.warden.answer(share(given, 1))
        with pytest.raises(Refusal) as caught:
            found.warden.answer(share(given, 2))
        assert caught.value.code == "StateMissing"
        assert found.warden.phase == "sealed"


def asking(question: Callable[[], Any], found: Watched) -> Any:
    """Ask from another thread while the warden ticks."""
    told: list[Any] = []

    def ask() -> None:
        try:
            told.append(question())
        except (Refusal, Unavailable) as error:
            told.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive():
        found.warden.tick()
        thread.join(0.005)
    return told[0]


def test_over_the_socket(short: Effective, given: NewShares) -> None:
    with watched(short, None) as found:
        assert asking(lambda: warden.ask(short.runtime, do="status"), found)["sealed"]
        assert asking(lambda: warden.ask(short.runtime, **share(given, 1)), found)["progress"][0]["given"] == [1]
        wrong = asking(lambda: warden.ask(short.runtime, do="give", kind="share", secret="x"), found)
        assert (wrong.code, wrong.kind) == ("WrongShare", "bad_request")
        assert asking(lambda: warden.ask(short.runtime, do="nonsense"), found).code == "InvalidParameter"
        assert asking(lambda: warden.ask(short.runtime, do="give"), found).code == "NoWarden"
    with pytest.raises(Unavailable):
        warden.ask(short.runtime, do="status")


@pytest.mark.parametrize("sent", [b"", b"\n", b"[]\n", b"{}\n", b'{"do":"seal"}\n', b"\xff\n", b"x" * 70_000])
def test_garbage_changes_nothing(short: Effective, sent: bytes) -> None:
    with watched(short, open_root(short)) as found:

        def send() -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(short.runtime / warden.SOCKET_NAME))
                try:
                    connection.sendall(sent)
                    connection.shutdown(socket.SHUT_WR)
                    return connection.recv(4096)
                except OSError:
                    return b""

        told = asking(send, found)
        assert told == b"" or "ok" not in json.loads(told)
        assert found.warden.phase == "open"
        assert mark.read(short.state) is None


def test_a_mark_that_cannot_be_read_still_seals(region: Effective) -> None:
    assert mark.read(region.state) is None
    for content in (b"", b"{}", b'{"at": "yesterday", "by": "x"}'):
        (region.state / mark.NAME).write_bytes(content)
        assert mark.read(region.state) is not None


class HangingWrapper:
    """A key in a token that does not come back."""

    def unwrap(self, wrapped: bytes) -> bytes:
        signal.pause()
        return wrapped


def _through(monkeypatch: pytest.MonkeyPatch, region: Effective, wrapper: object) -> None:
    """Have the region open by a token, which is `wrapper`."""
    real = FakeWrapper(bytes(32))
    slots.add(
        region, key_file_of(region), WrappingKey("pkcs11", "pkcs11:token=t;object=k", real), nothing, SystemClock()
    )
    opener = WrappingKey("pkcs11", "pkcs11:token=t;object=k", wrapper)  # type: ignore[arg-type]
    monkeypatch.setattr("keystead.server.sealing.wrappers.by_itself", lambda *_: opener)


def test_a_token_that_hangs_keeps_the_warden_from_nothing(
    short: Effective, given: NewShares, monkeypatch: pytest.MonkeyPatch
) -> None:
    _through(monkeypatch, short, HangingWrapper())
    with watched(short, None) as found:
        found.clock.advance(RETRY_SECONDS)
        began = time.monotonic()
        for _ in range(20):
            assert found.warden.tick() is None
        assert found.warden._asking, "it is asked"
        found.warden.answer(share(given, 1))
        assert not found.warden.answer(share(given, 2))["sealed"]
        assert time.monotonic() - began < APART_SECONDS / 2
        assert found.settle() == [OPEN] and not found.warden._asking


def test_a_token_that_answers_opens_it(short: Effective, monkeypatch: pytest.MonkeyPatch) -> None:
    _through(monkeypatch, short, FakeWrapper(bytes(32)))
    with watched(short, None) as found:
        found.clock.advance(RETRY_SECONDS)
        while found.warden.phase == "sealed":
            assert found.warden.tick() is None
        assert found.settle() == [OPEN]
        assert found.roots[0].subkey("audit") == open_root(short).subkey("audit")


def test_an_order_to_seal_is_not_undone_by_a_token(short: Effective, monkeypatch: pytest.MonkeyPatch) -> None:
    _through(monkeypatch, short, HangingWrapper())
    with watched(short, None) as found:
        found.clock.advance(RETRY_SECONDS)
        found.warden.tick()
        assert found.warden._asking
        mark.put(short.state, found.clock.now(), "somebody")
        found.warden.tick()
        assert not found.warden._asking
        mark.clear(short.state)


def test_work_apart_that_is_late_is_ended() -> None:
    late = Apart(lambda: (signal.pause(), b"")[1], 0.05)
    child = late._child
    with pytest.raises(Unavailable):
        while late.look() is None:
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
