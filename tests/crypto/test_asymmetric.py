"""Keys with two halves: kept, loaded, shown, and refusing what they are not."""

import base64
import copy
import hashlib
import json
import pickle
from functools import cache

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import public
from keystead.crypto.asymmetric import PrivateKey, PublicKey, check, generate
from keystead.crypto.suites import ALGORITHMS, BY_NUMBER, CURRENT, SCHEMES, Algorithm, suite_of
from keystead.crypto.wrap import AesKwp, rsa_aes_unwrap, rsa_aes_wrap

HALVED = [name for name in ALGORITHMS if CURRENT[name].asymmetric]
QUICK = [name for name in HALVED if name not in ("RSA-3072", "RSA-4096")]
every = pytest.mark.parametrize("name", QUICK)


@cache
def made(name: Algorithm) -> Secret:
    return generate(CURRENT[name])


@cache
def key_of(name: Algorithm) -> PrivateKey:
    return PrivateKey(CURRENT[name], made(name))


def refused(code: str, run: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        run()  # type: ignore[operator]
    assert caught.value.code == code
    assert caught.value.__cause__ is None
    return caught.value


def test_the_catalogue() -> None:
    assert set(CURRENT) == set(ALGORITHMS)
    assert len(BY_NUMBER) >= len(CURRENT), "no number is taken twice"
    for name, suite in CURRENT.items():
        assert BY_NUMBER[suite.number] is suite
        assert suite_of(name) is suite
        assert bool(suite.schemes) == ("sign" in suite.operations)
        assert bool(suite.envelope) == ("wrap" in suite.operations)
        assert set(suite.schemes) <= set(SCHEMES)
    assert {name for name, suite in CURRENT.items() if suite.provisional} == {"ML-DSA-65", "HPKE-X25519-MLKEM768"}
    assert {scheme for suite in CURRENT.values() for scheme in suite.schemes} == set(SCHEMES)
    refused("InvalidParameter", lambda: suite_of("DES"))


@every
def test_the_same_material_is_the_same_key(name: Algorithm) -> None:
    check(CURRENT[name], made(name))
    again = PrivateKey(CURRENT[name], made(name))
    assert again.public == key_of(name).public
    assert PublicKey(CURRENT[name], again.public.spki) == again.public
    assert len({again.public, key_of(name).public}) == 1


@every
def test_one_algorithms_material_is_no_others(name: Algorithm) -> None:
    for other in HALVED:
        if other == name or {CURRENT[other].family, CURRENT[name].family} <= {"ed25519", "ml-dsa", "hpke"}:
            continue  # all three are seeds of 32 bytes: what tells them apart is the number kept with them
        refused("InvalidKey", lambda other=other: PrivateKey(CURRENT[other], made(name)))
        refused("InvalidKey", lambda other=other: PublicKey(CURRENT[other], key_of(name).public.spki))
    for wrong in (b"", b"\x00" * 31, made(name).reveal()[:-1], b"\x30\x00"):
        refused("InvalidKey", lambda wrong=wrong: PrivateKey(CURRENT[name], Secret(wrong)))
        refused("InvalidKey", lambda wrong=wrong: check(CURRENT[name], Secret(wrong)))
        refused("InvalidKey", lambda wrong=wrong: PublicKey(CURRENT[name], wrong))


def test_an_unsound_rsa_key_is_not_taken_in() -> None:
    suite = CURRENT["RSA-2048"]
    numbers = key_of("RSA-2048")._key.private_numbers()  # type: ignore[union-attr]
    one_off = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d, numbers.dmp1 ^ 2, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    small = rsa.generate_private_key(3, 2048)
    short = rsa.generate_private_key(65537, 1024)
    for key in (one_off, small, short):
        der = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        refused("InvalidKey", lambda der=der: check(suite, Secret(der)))


@pytest.mark.parametrize("name", [name for name in QUICK if CURRENT[name].envelope])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_changed_wrapping_unwraps(name: Algorithm, data: st.DataObject) -> None:
    key = key_of(name)
    wrapped = bytearray(key.wrap(b"k" * 32))
    bit = data.draw(st.integers(0, len(wrapped) * 8 - 1))
    wrapped[bit // 8] ^= 1 << bit % 8
    for broken in (bytes(wrapped), bytes(wrapped[:-1]), bytes(wrapped) + b"\x00", b""):
        with pytest.raises(Unreadable) as caught:
            key.unwrap(broken)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


@every
def test_what_a_key_cannot_it_refuses(name: Algorithm) -> None:
    key, suite = key_of(name), CURRENT[name]
    if not suite.envelope:
        refused("WrongOperation", lambda: key.wrap(b"k" * 32))
        refused("WrongOperation", lambda: key.unwrap(b"k" * 32))
    if not suite.schemes:
        refused("WrongOperation", lambda: key.sign(b"m"))
        refused("WrongOperation", lambda: key.verify(b"m", b"s"))


@pytest.mark.parametrize("name", [name for name in QUICK if CURRENT[name].schemes])
@settings(max_examples=20, deadline=None)
@given(message=st.binary(max_size=200), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_message_or_signature_does_not_hold(name: Algorithm, message: bytes, place: int, bit: int) -> None:
    key = key_of(name)
    signature = key.sign(message)
    assert key.verify(message, signature)
    changed = bytearray(signature)
    changed[place % len(changed)] ^= 1 << bit
    assert not key.verify(message, bytes(changed))
    assert not key.verify(message + b"\x00", signature)
    assert not key.verify(message, signature[:-1])
    assert not key.verify(message, b"")


def test_a_signature_of_one_scheme_is_none_of_another() -> None:
    key = key_of("RSA-2048")
    for scheme in CURRENT["RSA-2048"].schemes:
        signature = key.sign(b"m", scheme)
        for other in CURRENT["RSA-2048"].schemes:
            assert key.verify(b"m", signature, other) == (scheme == other)


@every
def test_pem_and_jwk_are_what_others_read(name: Algorithm) -> None:
    half = key_of(name).public
    text = public.pem(half)
    assert public.from_pem(text) == half.spki
    shown = public.jwk(half)
    required = {key: value for key, value in shown.items() if key not in ("kid", "use")}
    thumb = hashlib.sha256(json.dumps(required, separators=(",", ":"), sort_keys=True).encode()).digest()
    assert shown["kid"] == base64.urlsafe_b64encode(thumb).decode().rstrip("=")
    assert "d" not in shown
    if name.startswith("HPKE"):
        assert base64.urlsafe_b64decode(shown["pub"] + "==") == half.spki[-1216:]
        return
    loaded = serialization.load_pem_public_key(text.encode())
    if isinstance(loaded, ec.EllipticCurvePublicKey):
        size = (loaded.key_size + 7) // 8
        assert base64.urlsafe_b64decode(shown["x"] + "==") == loaded.public_numbers().x.to_bytes(size, "big")
    if isinstance(loaded, rsa.RSAPublicKey):
        assert int.from_bytes(base64.urlsafe_b64decode(shown["n"] + "=="), "big") == loaded.public_numbers().n


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN PUBLIC KEY-----\n", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----"]
)
def test_what_is_no_pem(text: str) -> None:
    with pytest.raises(ValueError, match="PEM"):
        public.from_pem(text)


@every
def test_a_private_key_keeps_to_itself(name: Algorithm) -> None:
    key = key_of(name)
    assert repr(key) == f"PrivateKey({name})"
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            act(key)


@settings(max_examples=30, deadline=None)
@given(material=st.binary(min_size=1, max_size=300), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_rsa_with_aes_kwp(material: bytes, place: int, bit: int) -> None:
    key = key_of("RSA-2048")
    wrapped = rsa_aes_wrap(key, material)
    assert rsa_aes_unwrap(key, 256, wrapped) == material
    changed = bytearray(wrapped)
    changed[place % len(changed)] ^= 1 << bit
    for broken in (bytes(changed), wrapped[:-8], wrapped[:256], b""):
        with pytest.raises(Unreadable):
            rsa_aes_unwrap(key, 256, broken)


def test_limits_of_wrapping() -> None:
    refused("TooLarge", lambda: key_of("RSA-2048").wrap(bytes(191)))
    assert key_of("RSA-2048").unwrap(key_of("RSA-2048").wrap(bytes(190))) == bytes(190)
    for wrong in (b"", bytes((1 << 20) + 1)):
        with pytest.raises(ValueError, match="AES-KWP"):
            AesKwp(bytes(32)).wrap(wrong)
    with pytest.raises(ValueError, match="16, 24 or 32"):
        AesKwp(bytes(20))
    assert repr(AesKwp(bytes(32))) == "AesKwp(…)"
