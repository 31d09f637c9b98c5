"""Envelopes of the other suites: they open for what they were made for, and for nothing else."""

import copy
import hashlib
import hmac
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.core.errors import Refusal, Unavailable, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import encapsulate
from keystead.crypto.asymmetric import PrivateKey
from keystead.crypto.encapsulate import Encapsulated, KeyWrapping
from keystead.crypto.envelope import MAX_PLAINTEXT_BYTES, Binding, Header, Kek, Kek128, Kek192, peek
from keystead.crypto.suites import suite_of
from keystead.crypto.wrap import AesKwp

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "envelope-v1-suites.json").read_text()
)
BINDING = Binding("data-key", "tenancy-a", "home", "system-1", "key-1", b"more")
Sealer = Kek | Encapsulated


def sealer(algorithm: str, material: bytes, key_id: str = "key-1", version: int = 3) -> Sealer:
    if algorithm == "AES-KWP":
        return Encapsulated(AesKwp(material), encapsulate.SUITE_TOKEN, key_id, version)
    if algorithm.startswith("AES-"):
        return {"AES-128": Kek128, "AES-192": Kek192, "AES-256": Kek}[algorithm](material, key_id, version)
    suite = suite_of(algorithm)
    return Encapsulated(PrivateKey(suite, Secret(material)), suite.envelope, key_id, version)


MATERIALS = {vector["algorithm"]: bytes.fromhex(vector["material"]) for vector in VECTORS}
SEALERS = {name: sealer(name, material) for name, material in MATERIALS.items()}
BLOBS = {name: each.seal(b"\x07" * 32, BINDING) for name, each in SEALERS.items()}
every = pytest.mark.parametrize("name", SEALERS)


def assert_unreadable(key: Sealer, blob: bytes, binding: Binding = BINDING) -> None:
    with pytest.raises(Unreadable) as caught:
        key.open(blob, binding)
    same = Unreadable()
    assert (str(caught.value), caught.value.code, caught.value.hint) == (str(same), same.code, same.hint)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "the cause would tell"


def test_every_suite_that_seals_is_here() -> None:
    assert {vector["suite"] for vector in VECTORS} == {2, 3, 16, 17, 18}


@every
@settings(max_examples=10, deadline=None)
@given(plaintext=st.binary(max_size=100), associated=st.binary(max_size=40))
def test_what_was_sealed_opens(name: str, plaintext: bytes, associated: bytes) -> None:
    binding = Binding("p", "t", "r", "s", "k", associated)
    blob = SEALERS[name].seal(plaintext, binding)
    assert SEALERS[name].sealed(blob)
    assert SEALERS[name].open(blob, binding) == plaintext
    assert_unreadable(SEALERS[name], blob, Binding("p", "t", "r", "s", "k", associated + b"x"))


@every
def test_any_flipped_bit_fails(name: str) -> None:
    blob = BLOBS[name]
    step = 1 if name == "AES-KWP" else 3 if name in ("AES-128", "AES-192") else 23  # slow keys: every part, not all
    for bit in {*range(0, len(blob) * 8, step), *range(18 * 8), *range(len(blob) * 8 - 16, len(blob) * 8)}:
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        assert_unreadable(SEALERS[name], bytes(flipped))


@every
def test_truncated_extended_and_foreign_fail(name: str) -> None:
    blob = BLOBS[name]
    for length in {*range(0, len(blob), 1 if name == "AES-KWP" else 29), len(blob) - 1}:
        assert_unreadable(SEALERS[name], blob[:length])
    assert_unreadable(SEALERS[name], blob + b"\x00")
    assert_unreadable(SEALERS[name], bytes(len(blob)))
    for other, foreign in BLOBS.items():
        if other != name:
            assert_unreadable(SEALERS[name], foreign)


@every
def test_another_version_id_or_key_fails(name: str) -> None:
    for key_id, version in (("key-1", 4), ("key-2", 3)):
        assert_unreadable(sealer(name, MATERIALS[name], key_id, version), BLOBS[name])
    if name.startswith(("AES", "HPKE")):
        other = bytes(reversed(MATERIALS[name]))
        assert_unreadable(sealer(name, other), BLOBS[name])


@every
def test_parts_of_two_envelopes_do_not_mix(name: str) -> None:
    one, two = BLOBS[name], SEALERS[name].seal(b"\x07" * 32, BINDING)
    for cut in range(16, len(one), 1 if name == "AES-KWP" else 31):
        if one[:cut] + two[cut:] not in (one, two):
            assert_unreadable(SEALERS[name], one[:cut] + two[cut:])


@every
def test_golden_vectors_open_for_ever(name: str) -> None:
    found = [vector for vector in VECTORS if vector["algorithm"] == name]
    assert len(found) == 2
    for vector in found:
        fields = dict(vector["binding"])
        binding = Binding(**{**fields, "associated_data": bytes.fromhex(fields["associated_data"])})
        blob, plaintext = bytes.fromhex(vector["blob"]), bytes.fromhex(vector["plaintext"])
        assert binding.encoded.hex() == vector["binding_bytes"]
        assert SEALERS[name].open(blob, binding) == plaintext
        assert peek(blob) == Header("key-1", 3, vector["suite"])
        assert rebuilt(name, blob, binding.encoded, plaintext) == blob


def rebuilt(name: str, blob: bytes, encoded: bytes, plaintext: bytes) -> bytes:
    """The blob made again by the letter of docs/formats/envelope.md, on another implementation of HMAC."""
    end = 7 + blob[6] + 4
    if name in ("AES-128", "AES-192"):
        header = blob[: end + 32]
        prk = hmac.digest(b"keystead envelope v1", MATERIALS[name], hashlib.sha512)
        size = len(MATERIALS[name])
    else:
        length = int.from_bytes(blob[end : end + 2], "big")
        header = blob[: end + 2 + length]
        wrapping: KeyWrapping = SEALERS[name]._wrapping  # type: ignore[union-attr]
        message_key = wrapping.unwrap(header[end + 2 :])
        assert len(message_key) == 32
        prk = hmac.digest(b"keystead encapsulated envelope v1", message_key, hashlib.sha512)
        size = 32
    okm = hmac.digest(prk, header + encoded + b"\x01", hashlib.sha512)
    head = header + okm[32:]
    return head + AESGCM(okm[:size]).encrypt(bytes(12), plaintext, head + encoded)


class Fickle:
    """A wrapping that does what it is told to."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.seen: list[bytes] = []

    def wrap(self, key: bytes) -> bytes:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.seen.append(key)
        return self.answer

    def unwrap(self, wrapped: bytes) -> bytes:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.seen[-1]


def test_the_wrapping_sees_fresh_keys_alone() -> None:
    wrapping = Fickle(b"x" * 40)
    key = Encapsulated(wrapping, encapsulate.SUITE_EXTERNAL, "k", 1)
    for _ in range(20):
        assert key.open(key.seal(b"words", BINDING), BINDING) == b"words"
    assert len(set(wrapping.seen)) == 20
    assert {len(seen) for seen in wrapping.seen} == {32}


def test_a_keystore_that_does_not_answer_is_not_a_broken_ciphertext() -> None:
    wrapping = Fickle(b"x")
    key = Encapsulated(wrapping, encapsulate.SUITE_TOKEN, "k", 1)
    blob = key.seal(b"words", BINDING)
    wrapping.answer = Unavailable("KeystoreDown", "the keystore does not answer")
    with pytest.raises(Unavailable):
        key.open(blob, BINDING)
    with pytest.raises(Unavailable):
        key.seal(b"words", BINDING)
    wrapping.answer = Unreadable()
    assert_unreadable(key, blob)
    wrapping.answer = b"x"
    assert key.open(blob, BINDING) == b"words"


@pytest.mark.parametrize("answer", [b"", bytes(4097)])
def test_a_wrapped_key_has_a_size(answer: bytes) -> None:
    with pytest.raises(ValueError, match="4096"):
        Encapsulated(Fickle(answer), encapsulate.SUITE_TOKEN, "k", 1).seal(b"", BINDING)


def test_limits() -> None:
    key = SEALERS["AES-KWP"]
    with pytest.raises(Refusal, match="1 MiB"):
        key.seal(bytes(MAX_PLAINTEXT_BYTES + 1), BINDING)
    with pytest.raises(ValueError, match="encapsulates"):
        Encapsulated(Fickle(b"x"), 1, "k", 1)
    for kek, size in ((Kek128, 16), (Kek192, 24), (Kek, 32)):
        for wrong in (0, size - 1, size + 1):
            with pytest.raises(ValueError, match=f"{size} bytes"):
                kek(bytes(wrong), "k", 1)


@pytest.mark.parametrize("name", ["AES-128", "AES-192"])
def test_keys_that_seal_directly_do_not_sign(name: str) -> None:
    for run in (lambda key: key.sign(b"x"), lambda key: key.verify(b"x", b"y")):
        with pytest.raises(Refusal) as caught:
            run(SEALERS[name])
        assert caught.value.code == "WrongOperation"
        assert name in caught.value.message


def test_an_encapsulating_key_keeps_to_itself() -> None:
    key = SEALERS["RSA-2048"]
    assert repr(key) == "Encapsulated('key-1', version=3, suite=16)"
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            act(key)
