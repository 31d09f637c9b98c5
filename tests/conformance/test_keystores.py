"""What every keystore promises (`vault/ports.Keystore`), asked of each: one suite, no exceptions for anybody."""

import secrets

import pytest

from keystead.core.errors import KeysteadError, Refusal, Unavailable, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import asymmetric
from keystead.crypto.asymmetric import PublicKey
from keystead.crypto.envelope import Binding, peek
from keystead.crypto.suites import ALGORITHMS, suite_of
from keystead.vault.ports import KeySpec, Stored

SLOW = ("RSA-3072", "RSA-4096")
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ALGORITHMS]
BINDING = Binding("customer-data", "t", "home", "", "key.1", b"context")


def spec(algorithm: str, number: int = 1, key: str = "key.oc1.home.abc") -> KeySpec:
    return KeySpec("t", "vault.1", key, number, algorithm)


@pytest.fixture(params=EVERY)
def algorithm(request, keystore):
    if request.param not in keystore.algorithms:
        with pytest.raises(Refusal) as caught:
            keystore.generate(spec(request.param))
        assert caught.value.code == "WrongAlgorithm"
        pytest.skip(f"{keystore.protection} says that it has no {request.param}")
    return request.param


@pytest.fixture
def made(keystore, algorithm):
    stored = keystore.generate(spec(algorithm))
    yield stored
    keystore.destroy(spec(algorithm), stored)


def test_what_it_seals_opens_and_what_is_changed_does_not(keystore, algorithm, made):
    material = keystore.use(spec(algorithm), made)
    if "wrap" not in suite_of(algorithm).operations:
        for refused in (lambda: material.seal(b"x", BINDING), lambda: material.open(b"x", BINDING)):
            with pytest.raises(Refusal) as caught:
                refused()
            assert caught.value.code == "WrongOperation"
        return
    blob = material.seal(b"plaintext", BINDING)
    assert blob != material.seal(b"plaintext", BINDING)
    assert material.open(blob, BINDING) == b"plaintext"
    assert material.sealed(blob)
    header = peek(blob)
    assert (header.key_id, header.key_version) == ("key.oc1.home.abc", 1)
    # Places in every part: prefix, encapsulation or salt, commitment, ciphertext, tag.
    for place in (2, 20, 45, len(blob) - 50, len(blob) - 20, len(blob) - 1):
        changed = bytearray(blob)
        changed[place] ^= 0x01
        with pytest.raises(Unreadable):
            material.open(bytes(changed), BINDING)
    for cut in (blob[:-1], blob[: len(blob) // 2], b"", blob + b"\0"):
        with pytest.raises(Unreadable):
            material.open(cut, BINDING)
    with pytest.raises(Unreadable):
        material.open(blob, Binding("customer-data", "t", "home", "", "key.1", b"other context"))


def test_a_material_made_again_opens_what_the_first_sealed(keystore, algorithm, made):
    first, again = keystore.use(spec(algorithm), made), keystore.use(spec(algorithm), made)
    if "wrap" in suite_of(algorithm).operations:
        assert again.open(first.seal(b"plaintext", BINDING), BINDING) == b"plaintext"
    else:
        assert again.verify(b"message", first.sign(b"message"))


def test_signatures_are_those_of_the_standards(keystore, algorithm, made):
    material, suite = keystore.use(spec(algorithm), made), suite_of(algorithm)
    if not suite.schemes:
        for refused in (lambda: material.sign(b"x"), lambda: material.verify(b"x", b"y")):
            with pytest.raises(Refusal) as caught:
                refused()
            assert caught.value.code == "WrongOperation"
        return
    public = PublicKey(suite, made.public)
    for scheme in suite.schemes:
        for message in (b"", b"message", secrets.token_bytes(100_000)):
            signature = material.sign(message, scheme)
            assert public.verify(message, signature, scheme)
            assert material.verify(message, signature, scheme)
            assert not material.verify(message + b"x", signature, scheme)
    with pytest.raises(Refusal):
        material.sign(b"x", "ROT13")


def test_digests_are_signed_as_the_message_would_be(keystore, algorithm, made):
    import hashlib

    material, suite = keystore.use(spec(algorithm), made), suite_of(algorithm)
    for scheme in suite.schemes:
        name = scheme.rpartition("-")[2].lower()
        if not name.startswith("sha"):
            with pytest.raises(Refusal):
                material.sign(b"x" * 32, scheme, digest=True)
            continue
        digest = hashlib.new(name, b"message").digest()
        assert material.verify(b"message", material.sign(digest, scheme, digest=True), scheme)
        with pytest.raises(Refusal):
            material.sign(digest[:-1], scheme, digest=True)


def test_a_reference_serves_the_key_and_version_it_was_made_for_alone(keystore):
    mine = keystore.generate(spec("AES-256"))
    blob = keystore.use(spec("AES-256"), mine).seal(b"plaintext", BINDING)
    for other in (spec("AES-256", number=2), spec("AES-256", key="key.oc1.home.xyz")):
        with pytest.raises((Unreadable, Unavailable)) as caught:
            keystore.use(other, mine).seal(b"x", BINDING)
        assert caught.value.code in ("Unreadable", "KeyNotInToken")
        with pytest.raises((Unreadable, Unavailable)):
            keystore.use(other, mine).open(blob, BINDING)
    for broken in (b"", b"x", mine.reference[:-1], mine.reference + b"x", b"KSZ" + mine.reference[3:]):
        with pytest.raises((Unreadable, Unavailable)):
            keystore.use(spec("AES-256"), Stored(broken)).seal(b"x", BINDING)
    keystore.destroy(spec("AES-256"), mine)


def test_two_versions_do_not_open_each_others(keystore):
    first, second = keystore.generate(spec("AES-256", 1)), keystore.generate(spec("AES-256", 2))
    one, two = keystore.use(spec("AES-256", 1), first), keystore.use(spec("AES-256", 2), second)
    blob = one.seal(b"plaintext", BINDING)
    assert not two.sealed(blob)
    with pytest.raises(Unreadable):
        two.open(blob, BINDING)
    for number, stored in ((1, first), (2, second)):
        keystore.destroy(spec("AES-256", number), stored)


def test_what_is_destroyed_is_gone_and_destroying_again_is_fine(keystore):
    stored = keystore.generate(spec("AES-256"))
    material = keystore.use(spec("AES-256"), stored)
    blob = material.seal(b"plaintext", BINDING)
    keystore.destroy(spec("AES-256"), stored)
    keystore.destroy(spec("AES-256"), stored)
    if keystore.protection == "software":
        return  # its material is the reference, which the rows' owner overwrites
    for attempt in (lambda: material.open(blob, BINDING), lambda: material.seal(b"x", BINDING)):
        with pytest.raises(Unavailable) as caught:
            attempt()
        assert caught.value.code in ("KeyNotInToken", "KeyNotInKeystore")
        assert caught.value.hint


@pytest.mark.parametrize("algorithm", ["AES-128", "AES-256", "RSA-2048", "EC-P256", "EC-P384", "EC-P521", "ED25519"])
def test_material_from_elsewhere_becomes_the_same_key(keystore, algorithm):
    suite = suite_of(algorithm)
    given = asymmetric.generate(suite) if suite.asymmetric else Secret(secrets.token_bytes(suite.bits // 8))
    if keystore.protection == "external":
        with pytest.raises(Refusal) as caught:
            keystore.add(spec(algorithm), given)
        assert caught.value.code == "WrongProtection"
        return
    stored = keystore.add(spec(algorithm), given)
    again = keystore.add(spec(algorithm, 2), given)
    assert stored.fingerprint == again.fingerprint != b""
    assert given.reveal() not in stored.reference
    material = keystore.use(spec(algorithm), stored)
    if suite.asymmetric:
        assert stored.public == asymmetric.PrivateKey(suite, given).public.spki
        assert PublicKey(suite, stored.public).verify(b"message", material.sign(b"message"))
    else:
        assert material.open(material.seal(b"plaintext", BINDING), BINDING) == b"plaintext"
    with pytest.raises(KeysteadError) as broken:
        keystore.add(spec(algorithm), Secret(given.reveal()[:-1]))
    assert broken.value.code == "InvalidKey"
    keystore.destroy(spec(algorithm), stored)
    keystore.destroy(spec(algorithm, 2), again)


def test_nothing_of_a_key_shows_in_what_prints(keystore):
    stored = keystore.generate(spec("AES-256"))
    material = keystore.use(spec("AES-256"), stored)
    shown = f"{stored!r} {material!r} {material} {keystore!r}"
    assert stored.reference.hex() not in shown and repr(stored.reference)[2:-1] not in shown
    keystore.destroy(spec("AES-256"), stored)
