"""`make bench-timing`: whether how long a refusal takes tells what was wrong. In process, no server, no peer.

Two classes of input are tried in random order, and the CPU time of this process is taken for each (`ROUNDS` tries of
one input at a time). From the samples the slowest tenth is cut off (interrupts, caches that somebody else emptied; the
limit is one for both classes), and Welch's t is computed of the rest, as dudect does it (Reparaz, Balasch, Verbauwhede,
"Dude, is my code constant time?", 2017). |t| under 4.5: nothing was seen with so many samples. Beyond it there is a
difference, and `difference` says how large it is, in nanoseconds of CPU of one try; a difference that says nothing
secret is in the list all the same, with what it says (`tells`).

A JSON line for each pair: `name`, `t`, `difference_ns`, `median_ns`, `samples`, `tells`.
"""

import argparse
import json
import math
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.web.region import Region, open_region

from keystead.core.errors import KeysteadError
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, passwords
from keystead.crypto.encapsulate import SUITE_RSA_OAEP_SHA256, Encapsulated
from keystead.crypto.envelope import Binding, Kek
from keystead.crypto.macs import MacKey
from keystead.crypto.suites import CURRENT
from keystead.iam.auth_tokens import PREFIX

THRESHOLD = 4.5
KEPT = 0.9
Try = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """Two classes. `first` and `second` make one try each, prepared: what they do beforehand is not measured.

    `tells`: what a difference says, where one is expected; empty where there must be none.
    """

    name: str
    first: Callable[[], Try]
    second: Callable[[], Try]
    samples: int = 20_000
    rounds: int = 4
    tells: str = ""


def refused(call: Callable[[], object]) -> Try:
    """A try that must be refused. How an exception is caught is part of both classes."""

    def attempt() -> None:
        try:
            call()
        except KeysteadError:
            return
        raise AssertionError("it was let in")

    return attempt


def measure(pair: Pair, scale: float) -> dict[str, object]:
    """Take the samples of a pair, and compare."""
    order = [index % 2 for index in range(max(200, int(pair.samples * scale)))]
    random.SystemRandom().shuffle(order)
    taken: tuple[list[int], list[int]] = ([], [])
    makers = (pair.first, pair.second)
    for each in makers * min(50, len(order) // 40):  # warm
        each()()
    for which in order:
        tried = makers[which]()
        began = time.process_time_ns()
        for _ in range(pair.rounds):
            tried()
        taken[which].append(time.process_time_ns() - began)
    limit = sorted(taken[0] + taken[1])[int(len(order) * KEPT)]
    first, second = ([each / pair.rounds for each in one if each <= limit] for one in taken)
    return {
        "name": pair.name,
        "t": round(welch(first, second), 2),
        "difference_ns": round(statistics.fmean(first) - statistics.fmean(second)),
        "median_ns": round(statistics.median(first + second)),
        "samples": len(order),
        "tells": pair.tells,
    }


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Welch's t of two samples."""
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / math.sqrt(spread) if spread else 0.0


def flipped(data: bytes, at: int) -> bytes:
    """One bit of byte `at` changed."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def envelopes() -> Iterator[Pair]:
    """What does not open, by where it is wrong."""
    binding = Binding("customer-data", "t", "home", "", "k")
    kek, other = (Kek(secrets.token_bytes(32), "k", 1) for _ in range(2))
    commitment = len(kek.seal(b"", binding)) - 16 - 32

    def wrong(at: Callable[[bytes], int]) -> Callable[[], Try]:
        def make() -> Try:
            blob = kek.seal(bytes(32), binding)
            changed = flipped(blob, at(blob))
            return refused(lambda: kek.open(changed, binding))

        return make

    def foreign() -> Try:
        blob = other.seal(bytes(32), binding)
        return refused(lambda: kek.open(blob, binding))

    def elsewhere() -> Try:
        blob = kek.seal(bytes(32), Binding("customer-data", "t", "home", "", "l"))
        return refused(lambda: kek.open(blob, binding))

    first, last = wrong(lambda _: commitment), wrong(lambda _: commitment + 31)
    text, tag = wrong(lambda blob: len(blob) - 20), wrong(lambda blob: len(blob) - 1)
    yield Pair("envelope: first or last byte of the commitment", first, last)
    yield Pair("envelope: commitment or ciphertext", first, text)
    yield Pair("envelope: ciphertext or tag", text, tag)
    yield Pair("envelope: another key's or a changed one", foreign, text)
    yield Pair("envelope: for another place or a changed one", elsewhere, text)


def paddings() -> Iterator[Pair]:
    """RSA-OAEP as Manger asks: is the first byte of what was encrypted zero? And further on."""
    suite = CURRENT["RSA-2048"]
    material = asymmetric.generate(suite)
    key = asymmetric.PrivateKey(suite, material)
    loaded = serialization.load_der_private_key(material.reveal(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    numbers = loaded.public_key().public_numbers()
    binding = Binding("customer-data", "t", "home", "", "k")
    whole = Encapsulated(key, SUITE_RSA_OAEP_SHA256, "k", 1)
    sealed = whole.seal(bytes(32), binding)
    at = sealed.index(b"\x01\x00", 8)  # where the 256 bytes of the encapsulation begin

    def number(first: bytes) -> bytes:
        while True:
            plain = int.from_bytes(first + secrets.token_bytes(255))
            if plain < numbers.n:
                return pow(plain, numbers.e, numbers.n).to_bytes(256)

    def alone(make: Callable[[], bytes]) -> Callable[[], Try]:
        def prepared() -> Try:
            wrapped = make()
            return refused(lambda: key.unwrap(wrapped))

        return prepared

    def within(make: Callable[[], bytes]) -> Callable[[], Try]:
        def prepared() -> Try:
            blob = sealed[: at + 2] + make() + sealed[at + 258 :]
            return refused(lambda: whole.open(blob, binding))

        return prepared

    zero, more = (lambda: number(b"\x00")), (lambda: number(b"\x01"))
    few = {"samples": 6000, "rounds": 1}
    yield Pair("RSA-OAEP: first byte zero or not (Manger)", alone(zero), alone(more), **few)
    yield Pair("RSA envelope: first byte zero or not (Manger)", within(zero), within(more), **few)
    right = lambda: key.wrap(secrets.token_bytes(32))  # noqa: E731
    tells = "that the padding is right, which nobody hits but who made it with the public half"
    yield Pair("RSA envelope: padding right or wrong", within(right), within(more), **few, tells=tells)


def codes() -> Iterator[Pair]:
    """MACs."""
    key = MacKey(secrets.token_bytes(32), "SHA256")
    message = bytes(64)
    code = key.mac(message)

    def wrong(at: int) -> Callable[[], Try]:
        changed = flipped(code, at)
        return lambda: lambda: key.matches(message, changed)

    yield Pair("HMAC: first or last byte", wrong(0), wrong(len(code) - 1))


def tokens(region: Region) -> Iterator[Pair]:
    """Security tokens, and auth tokens, which are looked up in the state."""
    iam = region.services.iam
    known = region.tokens["root"]
    signature = known.rpartition(".")[2]

    def signed(changed: str) -> Callable[[], Try]:
        text = known[: -len(signature)] + changed
        return lambda: refused(lambda: iam.authenticate(text, "test", "r"))

    first = ("A" if signature[0] != "A" else "B") + signature[1:]
    near = signature[:-2] + ("A" if signature[-2] != "A" else "B") + signature[-1]
    few = {"samples": 8000, "rounds": 1}
    yield Pair("token: signature wrong at its begin or its end", signed(first), signed(near), **few)
    root = iam.authenticate(known, "test", "r")
    _, text = iam.create_auth_token(root, root.principal.id, "timing")
    words = text.reveal().decode()
    unique, _, secret = words.removeprefix(PREFIX).partition("_")
    head = PREFIX + unique

    def shown(given: str) -> Callable[[], Try]:
        return lambda: refused(lambda: iam.authenticate_auth_token(Secret(given.encode()), "test", "r"))

    swapped = "A" if secret[-1] != "A" else "B"
    begin = f"{head}_{'A' if secret[0] != 'A' else 'B'}{secret[1:]}"
    end = f"{head}_{secret[:-1]}{swapped}"
    nobody = f"{head[:-4]}aaaa_{secret}"
    yield Pair("auth token: secret wrong at its begin or its end", shown(begin), shown(end), **few)
    tells = "that an auth token of this id exists, as its row is read; ids are no secrets, and have 160 random bits"
    yield Pair("auth token: secret wrong or id unknown", shown(begin), shown(nobody), **few, tells=tells)


def keys(region: Region) -> Iterator[Pair]:
    """Keys through the vault, as somebody who may use one of them."""
    vaults, ids = region.services.vaults, region.ids
    caller, mine = region.caller(), ids["key_id"]
    theirs, nothing = ids["other_key_id"], mine.rpartition(".")[0] + "." + "a" * 32
    blob = vaults.encrypt(caller, mine, bytes(32)).blob
    changed, committed = flipped(blob, len(blob) - 1), flipped(blob, len(blob) - 16 - 32 - 1)

    def asked(key: str, given: bytes) -> Callable[[], Try]:
        return lambda: refused(lambda: vaults.decrypt(caller, key, given))

    few = {"samples": 12_000, "rounds": 1}
    yield Pair("decrypt: tag or commitment", asked(mine, changed), asked(mine, committed), **few)
    tells = "that a key of another tenancy exists, to who knows its id, which has 160 random bits"
    yield Pair("decrypt: another tenancy's key or none", asked(theirs, blob), asked(nothing, blob), **few, tells=tells)
    tells = "what the blob itself says in clear: its header names another version or key"
    version = blob.replace(mine.encode() + bytes(3) + b"\x01", mine.encode() + bytes(3) + b"\x07")
    yield Pair("decrypt: no such version or changed", asked(mine, version), asked(mine, changed), **few, tells=tells)


class Hasher:
    """Argon2id, at a cost that is chosen."""

    hash, verify, decoy = map(staticmethod, (passwords.hash, passwords.verify, passwords.decoy))


def logins(region: Region, cheap: bool) -> Iterator[Pair]:
    """Sign-in with a wrong password: of somebody, and of nobody. Each try a day and a network later: no waiting."""
    iam, clock = region.services.iam, region.clock
    if cheap:
        passwords.MEMORY_KIB, passwords.ITERATIONS = 64, 1
    iam._hasher = Hasher()  # type: ignore[assignment]
    iam.reset_password(region.caller(), region.ids["nobody"])
    count = iter(range(1, 1 << 24))

    def tried(tenancy: str, name: str) -> Callable[[], Try]:
        def make() -> Try:
            clock.advance(timedelta(days=1).total_seconds())
            number = next(count)
            source = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            return refused(lambda: iam.sign_in(tenancy, name, Secret(b"wrong"), source, "r"))

        return make

    cost = "least cost" if cheap else "its real cost"
    few = {"samples": 4000 if cheap else 200, "rounds": 1}
    somebody, nobody = tried("acme", "nobody"), tried("acme", "no-such")
    yield Pair(f"sign-in, Argon2id at {cost}: a user or none", somebody, nobody, **few)
    yield Pair(f"sign-in, Argon2id at {cost}: a tenancy or none", nobody, tried("no-such", "no-such"), **few)


def every(place: Path) -> Iterator[Pair]:
    """All pairs."""
    yield from envelopes()
    yield from codes()
    yield from paddings()
    yield from tokens(_region(place, "tokens"))
    yield from keys(_region(place, "keys"))
    yield from logins(_region(place, "dear"), cheap=False)
    yield from logins(_region(place, "cheap"), cheap=True)


def _region(place: Path, name: str) -> Region:
    (place / name).mkdir()
    return open_region(place / name)


def main() -> int:
    """Measure and print; 1 when something was seen that tells a secret."""
    parser = argparse.ArgumentParser(prog="bench.timing", description="Whether the time of a refusal tells its cause.")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer samples")
    parser.add_argument("--only", default="", help="pairs whose name has this in it")
    given = parser.parse_args()
    seen = False
    with tempfile.TemporaryDirectory(prefix="ks-timing-") as place:
        for pair in every(Path(place)):
            if given.only in pair.name:
                found = measure(pair, given.scale)
                print(json.dumps(found), flush=True)
                seen |= abs(float(str(found["t"]))) > THRESHOLD and not pair.tells
    return int(seen)


if __name__ == "__main__":
    sys.exit(main())
