"""Keys in foreign forms: what is read is the key, and everything else is refused alike."""

import base64
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st

from keystead.core.errors import Refusal, Unreadable
from keystead.core.secret import Secret
from keystead.crypto import asymmetric, byok, checkvalue, portable, transport
from keystead.crypto.suites import ALGORITHMS, Suite, suite_of

pytestmark = pytest.mark.slow

SYMMETRIC = [suite_of(name) for name in ("AES-128", "AES-192", "AES-256")]
HALVES = [suite_of(name) for name in ALGORITHMS if suite_of(name).asymmetric and name not in ("RSA-3072", "RSA-4096")]
_made: dict[str, bytes] = {}
_pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
PASSWORD = b"a password for tests"


def material_of(suite: Suite) -> bytes:
    if suite.name not in _made:
        _made[suite.name] = asymmetric.generate(suite).reveal() if suite.asymmetric else bytes(range(suite.bits // 8))
    return _made[suite.name]


def library_key(suite: Suite) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | None:
    raw = material_of(suite)
    match suite.family:
        case "rsa" | "ec":
            return serialization.load_der_private_key(raw, None)  # type: ignore[return-value]
        case "ed25519":
            return ed25519.Ed25519PrivateKey.from_private_bytes(raw)
        case "ml-dsa":
            return mldsa.MLDSA65PrivateKey.from_seed_bytes(raw)  # type: ignore[return-value]
    return None


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def uint(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def jwk_of(suite: Suite) -> dict[str, str]:
    raw, key = material_of(suite), library_key(suite)
    if isinstance(key, rsa.RSAPrivateKey):
        found = key.private_numbers()
        public = found.public_numbers
        names = {"n": public.n, "e": public.e, "d": found.d, "p": found.p, "q": found.q}
        more = {"dp": found.dmp1, "dq": found.dmq1, "qi": found.iqmp}
        return {"kty": "RSA", **{name: uint(value) for name, value in (names | more).items()}}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers = key.private_numbers()
        curve = {256: "P-256", 384: "P-384", 521: "P-521"}[suite.bits]
        size = (suite.bits + 7) // 8
        point = numbers.public_numbers
        parts = {"x": point.x, "y": point.y, "d": numbers.private_value}
        return {"kty": "EC", "crv": curve, **{name: b64(value.to_bytes(size, "big")) for name, value in parts.items()}}
    if suite.family == "ed25519":
        assert key is not None
        return {"kty": "OKP", "crv": "Ed25519", "d": b64(raw), "x": b64(key.public_key().public_bytes_raw())}  # type: ignore[union-attr]
    if suite.family == "ml-dsa":
        assert key is not None
        return {"kty": "AKP", "alg": "ML-DSA-65", "priv": b64(raw), "pub": b64(key.public_key().public_bytes_raw())}  # type: ignore[union-attr]
    return {"kty": "oct", "k": b64(raw)}


@pytest.mark.parametrize("suite", [*SYMMETRIC, *HALVES], ids=lambda suite: suite.name)
def test_material_is_read_from_every_form_it_has(suite: Suite) -> None:
    raw = material_of(suite)
    forms: dict[portable.Form, bytes] = {
        "raw": raw,
        "hex": raw.hex().encode() + b"\n",
        "base64": base64.encodebytes(raw),
    }
    key = library_key(suite)
    if key is not None:
        forms["der"] = key.private_bytes(serialization.Encoding.DER, _pem[1], serialization.NoEncryption())
        forms["pem"] = key.private_bytes(*_pem, serialization.NoEncryption())
    if suite.family != "hpke":
        forms["jwk"] = json.dumps(jwk_of(suite)).encode()
    for form, data in forms.items():
        assert portable.read(suite, data, form).reveal() == raw, form
        if form in ("raw", "pem", "jwk", "der") or (form == "hex" and not suite.asymmetric):
            assert portable.guess(suite, data) in (form, "der" if form == "raw" else form), form


@pytest.mark.parametrize("name", ["RSA-2048", "EC-P256", "ED25519"])
def test_encrypted_pem_and_pkcs12_need_their_password(name: str) -> None:
    suite = suite_of(name)
    key = library_key(suite)
    assert key is not None
    locked = serialization.BestAvailableEncryption(PASSWORD)
    files: dict[portable.Form, bytes] = {
        "pem": key.private_bytes(*_pem, locked),
        "pkcs12": pkcs12.serialize_key_and_certificates(b"mine", key, None, None, locked),
    }
    for form, data in files.items():
        assert portable.guess(suite, data) == form
        assert portable.read(suite, data, form, Secret(PASSWORD)).reveal() == material_of(suite)
        for wrong in (None, Secret(b"another")):
            with pytest.raises(Refusal, match="not a sound key"):
                portable.read(suite, data, form, wrong)


@pytest.mark.parametrize("suite", [*SYMMETRIC, *HALVES], ids=lambda suite: suite.name)
def test_keys_of_every_other_algorithm_are_refused(suite: Suite) -> None:
    for other in [*SYMMETRIC, *HALVES]:
        if other.name == suite.name or (len(material_of(other)) == len(material_of(suite)) == 32):
            continue  # 32 random bytes are a seed of each
        for form in ("raw", "pem", "jwk"):
            with pytest.raises(Refusal, match=f"not a sound key of {suite.name}"):
                portable.read(suite, material_of(other), form)
        if other.family != "hpke":
            with pytest.raises(Refusal):
                portable.read(suite, json.dumps(jwk_of(other)).encode(), "jwk")


def broken_jwk(change: Callable[[dict[str, str]], object], name: str) -> bytes:
    found = jwk_of(suite_of(name))
    change(found)
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("AES-256", b'{"kty": "oct", "k": "AA", "k": "AA"}'),
        ("AES-256", b"[]"),
        ("AES-256", b'{"kty": "oct"}'),
        ("AES-256", b'{"kty": "oct", "k": 1.5}'),
        ("AES-256", b'{"kty": "oct", "k": NaN}'),
        ("AES-256", b'{"kty": "oct", "k": "' + b"A" * 43 + b'="}'),
        ("AES-256", b"[" * 5000),
        ("AES-256", b'{"kty": "oct", "k": "' + b"A" * 9000 + b'"}'),
        ("ED25519", broken_jwk(lambda found: found.update(x="A" * 43), "ED25519")),
        ("ML-DSA-65", broken_jwk(lambda found: found.update(pub="AAAA"), "ML-DSA-65")),
        ("EC-P256", broken_jwk(lambda found: found.update(x=found["y"]), "EC-P256")),
        ("EC-P256", broken_jwk(lambda found: found.update(crv="P-384"), "EC-P256")),
        ("RSA-2048", broken_jwk(lambda found: found.update(p=found["q"]), "RSA-2048")),
        ("RSA-2048", broken_jwk(lambda found: found.pop("qi"), "RSA-2048")),
    ],
)
def test_a_jwk_that_contradicts_itself_is_no_key(name: str, data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        portable.read(suite_of(name), data, "jwk")
    assert (caught.value.code, caught.value.__cause__) == ("InvalidKey", None)


@given(st.sampled_from([*SYMMETRIC, *HALVES]), st.sampled_from(portable.FORMS), st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_anything_else_is_refused_in_one_way(suite: Suite, form: portable.Form, data: bytes) -> None:
    try:
        found = portable.read(suite, data, form)
    except Refusal as refusal:
        assert refusal.code == "InvalidKey"
    else:
        asymmetric_only = suite.family in ("ed25519", "ml-dsa", "hpke", "aes")
        assert asymmetric_only
        assert len(found) == (suite.bits // 8 if suite.family == "aes" else 32)


def test_check_values_are_those_of_other_tools() -> None:
    # NIST SP 800-38B, D.1 gives the key; the code of a block of zeros by `openssl mac -cipher AES-128-CBC CMAC`
    key = Secret(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))
    assert checkvalue.of_material(suite_of("AES-128"), key) == "AES-CMAC:7ad386c376"
    suite = suite_of("EC-P256")
    private = asymmetric.PrivateKey(suite, Secret(material_of(suite)))
    assert checkvalue.of_material(suite, Secret(material_of(suite))) == checkvalue.of_public(private.public.spki)


@pytest.fixture(scope="module")
def wrapping_rsa() -> Secret:
    return asymmetric.generate(suite_of("RSA-4096"))


def public_of(way: transport.Way, private: Secret) -> bytes:
    return asymmetric.PrivateKey(transport.wrapping_suite(way), private).public.spki


@pytest.mark.parametrize("way", transport.WAYS)
def test_what_is_wrapped_opens_once_and_whole(way: transport.Way, wrapping_rsa: Secret) -> None:
    suite = transport.wrapping_suite(way)
    private = wrapping_rsa if suite.family == "rsa" else asymmetric.generate(suite)
    material = Secret(bytes(range(200)))
    blob = transport.wrap(way, public_of(way, private), material)
    assert transport.unwrap(way, private, blob) == material
    for at in (0, len(blob) // 2, len(blob) - 1):
        with pytest.raises(Unreadable):
            transport.unwrap(way, private, blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
    for bad in (b"", blob[:-1], blob + b"\0", blob * 60):
        with pytest.raises(Unreadable):
            transport.unwrap(way, private, bad)


def test_only_the_ways_that_take_any_length_take_an_rsa_key(wrapping_rsa: Secret) -> None:
    material = Secret(material_of(suite_of("RSA-2048")))
    spki = public_of("RSA-AES-KWP", wrapping_rsa)
    with pytest.raises(Refusal, match="at most 446 bytes"):
        transport.wrap("RSA-OAEP-SHA256", spki, material)
    assert transport.unwrap("RSA-AES-KWP", wrapping_rsa, transport.wrap("RSA-AES-KWP", spki, material)) == material


def test_transfer_blobs_open_with_either_hash(wrapping_rsa: Secret) -> None:
    from keystead.crypto.wrap import AesKwp

    material = Secret(bytes(32))
    spki = public_of("RSA-AES-KWP", wrapping_rsa)
    ours = transport.wrap("RSA-AES-KWP", spki, material)
    public = serialization.load_der_public_key(spki)
    assert isinstance(public, rsa.RSAPublicKey)
    theirs = public.encrypt(bytes(range(32)), transport._OAEP_SHA1) + AesKwp(bytes(range(32))).wrap(material.reveal())
    for wrapped in (ours, theirs):
        read = byok.read(byok.write(byok.Transfer("https://region/keys/ks1.wrappingkey.x", wrapped, "a tool")))
        assert read.wrapping_key == "ks1.wrappingkey.x"
        assert transport.unwrap_transfer(wrapping_rsa, read.wrapped) == material
    with pytest.raises(Unreadable):
        transport.unwrap("RSA-AES-KWP", wrapping_rsa, theirs)
    with pytest.raises(Unreadable):
        transport.unwrap_transfer(wrapping_rsa, theirs[:-1] + bytes([theirs[-1] ^ 1]))


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(schema_version="2.0.0"),
        lambda found: found["header"].update(enc="A256GCM"),
        lambda found: found["header"].update(alg="RSA-OAEP"),
        lambda found: found["header"].update(kid=""),
        lambda found: found["header"].update(kid=7),
        lambda found: found.update(ciphertext=""),
        lambda found: found.update(ciphertext="***"),
        lambda found: found.update(ciphertext=True),
        lambda found: found.update(generator="x" * 2000),
        lambda found: found.pop("header"),
        lambda found: found.update(ciphertext="A" * 40_000),
    ],
)
def test_other_transfer_blobs_are_refused(change: Callable[[dict[str, object]], object]) -> None:
    found = json.loads(byok.write(byok.Transfer("kid", b"wrapped", "tool")))
    change(found)
    with pytest.raises(Refusal) as caught:
        byok.read(json.dumps(found).encode())
    assert caught.value.code == "InvalidTransferBlob"


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_bytes_that_are_no_transfer_blob_are_refused(data: bytes) -> None:
    with pytest.raises(Refusal):
        byok.read(data)
