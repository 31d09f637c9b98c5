"""Argon2id password hashes as PHC strings."""

import threading
import time

import pytest

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
def test_what_is_no_hash_of_ours_is_false_and_costs_nothing(stored: str) -> None:
    started = time.process_time()
    assert not passwords.verify(stored, Secret(b"password"))
    assert time.process_time() - started < 0.05
    assert passwords.needs_rehash(stored)


def test_absent_users_cost_as_much() -> None:
    """CPU time of this process, not wall time: the machine may be busy."""
    stored = passwords.hash(Secret(b"open sesame"))
    times = {"verify": 9.0, "decoy": 9.0}
    for _ in range(3):
        for name, act in (("verify", lambda: passwords.verify(stored, Secret(b"x"))), ("decoy", decoy)):
            started = time.process_time()
            assert not act()
            times[name] = min(times[name], time.process_time() - started)
    assert 0.5 < times["decoy"] / times["verify"] < 2


def decoy() -> bool:
    return passwords.decoy(Secret(b"x"))


def test_overlong_passwords() -> None:
    long = Secret(bytes(1025))
    with pytest.raises(Refusal, match="1024 bytes"):
        passwords.hash(long)
    assert not passwords.verify(FOREIGN, long)
    assert not passwords.decoy(long)
