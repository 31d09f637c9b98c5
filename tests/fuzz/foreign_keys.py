"""Keys as others write them."""

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzz.target import KEY, SUITES, fine

from keystead.core.secret import Secret
from keystead.crypto import asymmetric, byok, ecdsa, portable, public, transport
from keystead.crypto.asymmetric import PrivateKey, PublicKey
from keystead.crypto.suites import suite_of
from keystead.crypto.wrap import AesKwp


def key_of(form: portable.Form) -> Callable[[bytes], None]:
    """The first byte chooses the algorithm. PEM and PKCS#12 come with a password."""

    def run(data: bytes) -> None:
        suite, content = SUITES[data[0] % len(SUITES)] if data else SUITES[0], data[1:]
        if form in ("pkcs12", "pem", "der") and costly(content):
            return
        password = Secret(b"pass") if form in ("pkcs12", "pem") and data[:1] > b"\x7f" else None
        with fine():
            material = portable.read(suite, content, form, password)
            if suite.asymmetric:
                asymmetric.check(suite, material)
                assert PublicKey(suite, PrivateKey(suite, material).public.spki)
        portable.guess(suite, content)

    return run


def costly(data: bytes) -> bool:
    """Whether an iteration count may be in it that would take minutes: the password's owner waits, we do not."""
    if b"-----" in data:
        with contextlib.suppress(ValueError):
            return costly(base64.b64decode(b"".join(data.split(b"\n")[1:-2])))
    at = data.find(b"\x02")
    while at >= 0:
        length = data[at + 1] if at + 1 < len(data) else 0
        if 3 <= length <= 8 and int.from_bytes(data[at + 2 : at + 2 + length]) > 20_000:
            return True
        at = data.find(b"\x02", at + 1)
    return False


_MATERIALS: dict[str, Secret] = {}


def material_of(name: str) -> Secret:
    if name not in _MATERIALS:
        _MATERIALS[name] = asymmetric.generate(suite_of(name)) if suite_of(name).asymmetric else Secret(KEY)  # type: ignore[arg-type]
    return _MATERIALS[name]


SMALL = ("AES-256", "EC-P256", "EC-P384", "ED25519", "ML-DSA-65", "RSA-2048")


def key_seeds(form: str) -> Callable[[], Iterator[bytes]]:
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import pkcs12

    def keys() -> Iterator[tuple[bytes, Any]]:
        for name in ("EC-P256", "ED25519", "RSA-2048"):
            raw = material_of(name).reveal()
            key: Any = (
                ed25519.Ed25519PrivateKey.from_private_bytes(raw)
                if name == "ED25519"
                else ser.load_der_private_key(raw, None)
            )
            assert isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey)
            yield bytes([SUITES.index(suite_of(name))]), key  # type: ignore[arg-type]

    def jwk(first: bytes, key: Any) -> Iterator[bytes]:
        def b64(number: int, size: int = 0) -> str:
            raw = number.to_bytes(size or (number.bit_length() + 7) // 8)
            return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

        found: dict[str, str]
        if isinstance(key, ec.EllipticCurvePrivateKey):
            numbers = key.private_numbers()
            point = numbers.public_numbers
            found = {"kty": "EC", "crv": "P-256", "d": b64(numbers.private_value, 32)}
            found |= {"x": b64(point.x, 32), "y": b64(point.y, 32)}
        elif isinstance(key, rsa.RSAPrivateKey):
            n = key.private_numbers()
            found = {"kty": "RSA", "n": b64(n.public_numbers.n), "e": b64(n.public_numbers.e), "d": b64(n.d)}
            found |= {"p": b64(n.p), "q": b64(n.q), "dp": b64(n.dmp1), "dq": b64(n.dmq1), "qi": b64(n.iqmp)}
        else:
            found = {"kty": "OKP", "crv": "Ed25519"}
            found["d"] = base64.urlsafe_b64encode(key.private_bytes_raw()).rstrip(b"=").decode()
        yield first + json.dumps(found).encode()

    def seeds() -> Iterator[bytes]:
        for first, key in keys():
            clear: Any = ser.NoEncryption()
            locked = (
                ser.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(10).build(b"pass")
                if form == "pkcs12"
                else ser.BestAvailableEncryption(b"pass")
            )
            match form:
                case "pkcs12":
                    yield first + pkcs12.serialize_key_and_certificates(b"n", key, None, None, clear)
                    yield bytes([first[0] + 12 * 12]) + pkcs12.serialize_key_and_certificates(
                        b"n", key, None, None, locked
                    )
                case "pem":
                    yield first + key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, clear)
                    if not isinstance(key, ed25519.Ed25519PrivateKey):
                        yield first + key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.TraditionalOpenSSL, clear)
                case "der":
                    yield first + key.private_bytes(ser.Encoding.DER, ser.PrivateFormat.PKCS8, clear)
                case "jwk":
                    yield from jwk(first, key)
        aes = bytes([SUITES.index(suite_of("AES-256"))])
        if form == "jwk":
            yield aes + b'{"kty":"oct","k":"' + base64.urlsafe_b64encode(KEY).rstrip(b"=") + b'"}'

    return seeds


def texts(data: bytes) -> None:
    """Raw, hex and base64 material."""
    suite, content = SUITES[data[0] % len(SUITES)] if data else SUITES[0], data[1:]
    for form in ("raw", "hex", "base64"):
        with fine():
            portable.read(suite, content, form)  # type: ignore[arg-type]


def texts_seeds() -> Iterator[bytes]:
    for name in SMALL:
        first, raw = bytes([SUITES.index(suite_of(name))]), material_of(name).reveal()  # type: ignore[arg-type]
        yield from (first + raw, first + raw.hex().encode(), first + base64.b64encode(raw))


def transfer_blob(data: bytes) -> None:
    with fine():
        found = byok.read(data)
        assert byok.read(byok.write(found)) == found
        assert isinstance(found.wrapping_key, str)
    byok.looks_like(data)


def transfer_seeds() -> Iterator[bytes]:
    yield byok.write(byok.Transfer("https://a/keys/k", b"wrapped material", "a tool"))


def wrapped_material(data: bytes) -> None:
    """What arrives for a wrapping key; and AES-KWP by itself."""
    way = transport.WAYS[data[0] % len(transport.WAYS)] if data else transport.WAYS[0]
    with fine():
        transport.unwrap(way, material_of(transport.wrapping_suite(way).name), data[1:])
    with fine():
        AesKwp(KEY).unwrap(data)


def wrapped_seeds() -> Iterator[bytes]:
    for index, way in enumerate(transport.WAYS):
        suite = transport.wrapping_suite(way)
        half = PrivateKey(suite, material_of(suite.name)).public.spki
        yield bytes([index]) + transport.wrap(way, half, Secret(KEY))
    yield AesKwp(KEY).wrap(KEY)


def public_halves(data: bytes) -> None:
    suite, content = SUITES[data[0] % len(SUITES)] if data else SUITES[0], data[1:]
    with fine(ValueError):
        content = public.from_pem(content.decode("latin-1"))
    if suite.asymmetric:
        with fine(ValueError):
            found = PublicKey(suite, content)
            public.jwk(found)
            assert public.from_pem(public.pem(found)) == content


def public_seeds() -> Iterator[bytes]:
    for name in ("EC-P256", "ED25519", "ML-DSA-65", "RSA-2048"):
        suite = suite_of(name)  # type: ignore[arg-type]
        first, half = bytes([SUITES.index(suite)]), PrivateKey(suite, material_of(name)).public
        yield first + half.spki
        yield first + public.pem(half).encode()


def signatures(data: bytes) -> None:
    with fine(ValueError):
        assert ecdsa.to_raw(ecdsa.to_der(ecdsa.to_raw(data, 256), 256), 256) == ecdsa.to_raw(data, 256)
    suite = SUITES[data[0] % len(SUITES)] if data else SUITES[0]
    if suite.asymmetric and suite.name in SMALL and suite.family != "hpke":
        with fine():
            half = PrivateKey(suite, material_of(suite.name)).public
            assert not half.verify(b"never signed", data[1:], ""), "forged"


def signature_seeds() -> Iterator[bytes]:
    for name in ("EC-P256", "ED25519", "RSA-2048"):
        suite = suite_of(name)  # type: ignore[arg-type]
        yield bytes([SUITES.index(suite)]) + PrivateKey(suite, material_of(name)).sign(b"another message")
    yield ecdsa.to_der(bytes(31) + b"\1" + bytes(31) + b"\2", 256)
