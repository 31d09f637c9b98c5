"""Argon2id password hashes as PHC strings."""

import threading
import time
from typing import Any

import pytest
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto import passwords

# Made by another program: the reference argon2 command, "password" with salt "somesalt", as RFC 9106 versions go.
FOREIGN = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
GOLDEN = "$argon2id$v=19$m=65536,t=3,p=4$QBLpnNdZp3XSVKr+t/S50A$TT3inzz7CGV3uAVmhvdqTy0vY6HEjGhYBjh8CEYlxNY"


def test_right_and_wrong() -> None:
    stored = passwords.hash(Secret(b"open sesame"))
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert passwords.verify(stored, Secret(b"open sesame"))
    assert not passwords.verify(stored, Secret(b"open sesamE"))
    assert not passwords.verify(stored, Secret(b""))
    assert not passwords.needs_rehash(stored)
    assert passwords.hash(Secret(b"open sesame")) != stored


def test_hashes_of_other_costs_still_open() -> None:
    assert passwords.verify(FOREIGN, Secret(b"password"))
    assert not passwords.verify(FOREIGN, Secret(b"Password"))
    assert passwords.needs_rehash(FOREIGN)


def test_golden_hash_opens_for_ever() -> None:
    assert passwords.verify(GOLDEN, Secret("pässword".encode()))
    assert passwords.needs_rehash(GOLDEN)  # four lanes


def test_many_at_once_come_to_an_end() -> None:
    def check(turn: int) -> None:
        if turn % 2:
            ended.append(passwords.verify(GOLDEN, Secret("pässword".encode())))
        else:
            ended.append(passwords.verify(passwords.hash(Secret(b"a")), Secret(b"a")))

    ended: list[bool] = []
    threads = [threading.Thread(target=check, args=(turn,), daemon=True) for turn in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert ended == [True] * 6


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "x",
        FOREIGN + "x" * 100,
        FOREIGN + "\n",
        FOREIGN.replace("argon2id", "argon2i"),
        FOREIGN.replace("v=19", "v=16"),
        FOREIGN.replace("m=256", "m=99999999"),
        FOREIGN.replace("t=2", "t=99"),
        FOREIGN.replace("p=1", "p=99"),
        FOREIGN.replace("m=256", "m=1"),
        FOREIGN.replace("$c29tZXNhbHQ", ""),
        "$argon2id$v=19$m=256,t=2,p=1$!$!",
    ],
)
def test_what_is_no_hash_of_ours_is_false_and_costs_what_a_wrong_password_does(
    stored: str, computed: list[tuple[int, int]]
) -> None:
    assert not passwords.verify(stored, Secret(b"password"))
    assert computed == [(passwords.MEMORY_KIB, passwords.ITERATIONS)]
    assert passwords.needs_rehash(stored)


def test_absent_users_cost_as_much(computed: list[tuple[int, int]]) -> None:
    """How much that is in time, `make bench-timing` tells."""
    stored = passwords.hash(Secret(b"open sesame"))
    computed.clear()
    assert not passwords.verify(stored, Secret(b"x"))
    assert not passwords.decoy(Secret(b"x"))
    assert computed == [(passwords.MEMORY_KIB, passwords.ITERATIONS)] * 2


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Memory and passes of every Argon2id that is computed, at a lesser cost than today's."""
    done: list[tuple[int, int]] = []

    class Counted:
        def __init__(self, *, memory_cost: int, iterations: int, **more: Any) -> None:
            self._real = Argon2id(memory_cost=memory_cost, iterations=iterations, **more)
            self._cost = (memory_cost, iterations)

        def derive(self, password: bytes) -> bytes:
            done.append(self._cost)
            return self._real.derive(password)

        def derive_phc_encoded(self, password: bytes) -> str:
            return self._real.derive_phc_encoded(password)

        @staticmethod
        def verify_phc_encoded(password: bytes, phc: str) -> None:
            try:
                Argon2id.verify_phc_encoded(password, phc)
            except InvalidKey:
                done.append((passwords.MEMORY_KIB, passwords.ITERATIONS) if "m=64,t=2," in phc else (0, 0))
                raise

    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
    monkeypatch.setattr(passwords, "ITERATIONS", 2)
    monkeypatch.setattr(passwords, "Argon2id", Counted)
    return done


def test_overlong_passwords() -> None:
    long = Secret(bytes(1025))
    with pytest.raises(Refusal, match="1024 bytes"):
        passwords.hash(long)
    assert not passwords.verify(FOREIGN, long)
    assert not passwords.decoy(long)
