"""Keys as others write them, read into the material that Keystead keeps. Pure; what is read is never trusted.

    raw      AES: its bytes; Ed25519, ML-DSA-65, X-Wing: the seed of 32 bytes; RSA, EC: PKCS#8 DER
    hex, base64   the same as text
    der      PKCS#8 (RFC 5958), PKCS#1 or SEC 1
    pem      the same between lines of PEM (RFC 7468), encrypted or not
    jwk      a private JWK: oct, RSA, EC, OKP (RFC 7517, 7518, 8037), AKP for ML-DSA-65
    pkcs12   .pfx (RFC 7292): the one private key in it; certificates are left alone

Promise: what comes back is the canonical material of a sound key of exactly the algorithm that was asked for (its
numbers fit each other, a public half that was given is its own), or `InvalidKey` is raised, alike for every cause.
Input is limited to 64 KiB, and to 8 KiB where nothing but a key should be in it: no modulus is too long to be checked.
A password may cost its reader what the file says: read encrypted files where only their owner waits for it.
"""

import base64
import binascii
import contextlib
import json
from typing import Any, Literal, NoReturn, get_args

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from keystead.core.secret import Secret
from keystead.crypto import asymmetric
from keystead.crypto.suites import Suite

Form = Literal["raw", "hex", "base64", "der", "pem", "jwk", "pkcs12"]
FORMS: tuple[Form, ...] = get_args(Form)
MAX_BYTES = 64 * 1024
MAX_KEY_BYTES = 8 * 1024
MAX_JSON_MEMBERS = 32
_CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
_SEED_FAMILIES = ("ed25519", "ml-dsa", "hpke")


def read(suite: Suite, data: bytes, form: Form, password: Secret | None = None) -> Secret:
    """The material of the key of `suite` in `data`. `password` opens PEM and PKCS#12.

    Raises:
        Refusal: `InvalidKey`, alike for every cause.
    """
    if len(data) <= (MAX_BYTES if form == "pkcs12" else MAX_KEY_BYTES):
        # Every parser has errors of its own, and what it says of a secret does not hang on ours.
        with contextlib.suppress(Exception):
            material = _read(suite, data, form, password.reveal() if password is not None else None)
            _check(suite, material)
            return material
    raise asymmetric.invalid_key(suite)


def guess(suite: Suite, data: bytes) -> Form:
    """The form that `data` seems to have; whether it does, `read` tells."""
    if len(data) * 8 == suite.bits and not suite.asymmetric:
        return "raw"
    if len(data) == asymmetric.SEED_BYTES and suite.family in _SEED_FAMILIES:
        return "raw"
    start = data.lstrip()[:11]
    if start.startswith(b"-----BEGIN "):
        return "pem"
    if start.startswith(b"{"):
        return "jwk"
    text = data.strip()
    if not suite.asymmetric and len(text) * 4 == suite.bits:
        return "hex"
    if data[:1] == b"\x30" and suite.asymmetric:
        # PFX ::= SEQUENCE { version INTEGER 3, ...}; the private key formats have version 0 or 1
        version = data.find(b"\x02\x01", 1, 8)
        return "pkcs12" if version > 0 and data[version + 2 : version + 3] == b"\x03" else "der"
    return "base64"


def _check(suite: Suite, material: Secret) -> None:
    if suite.asymmetric:
        asymmetric.check(suite, material)
    elif len(material) * 8 != suite.bits:
        raise ValueError("another length")


def _read(suite: Suite, data: bytes, form: Form, password: bytes | None) -> Secret:
    match form:
        case "raw":
            if suite.family in ("rsa", "ec"):
                return _of_key(suite, serialization.load_der_private_key(data, None))
            return Secret(data)
        case "hex":
            return _read(suite, binascii.unhexlify(b"".join(data.split())), "raw", None)
        case "base64":
            return _read(suite, base64.b64decode(b"".join(data.split()), validate=True), "raw", None)
        case "der":
            return _of_key(suite, serialization.load_der_private_key(data, password))
        case "pem":
            return _of_key(suite, serialization.load_pem_private_key(data, password))
        case "pkcs12":
            return _of_key(suite, pkcs12.load_pkcs12(data, password).key)
        case "jwk":
            return _jwk(suite, data)


def _of_key(suite: Suite, key: object) -> Secret:
    """The canonical material of the library's key."""
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) and suite.family in ("rsa", "ec"):
        return asymmetric.pkcs8(key)
    if isinstance(key, ed25519.Ed25519PrivateKey) and suite.family == "ed25519":
        return Secret(key.private_bytes_raw())
    if isinstance(key, mldsa.MLDSA65PrivateKey) and suite.family == "ml-dsa":
        return Secret(key.private_bytes_raw())
    raise ValueError("another kind of key")


def _jwk(suite: Suite, data: bytes) -> Secret:
    found = json.loads(data, object_pairs_hook=_members, parse_constant=_refuse, parse_float=_refuse)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    match suite.family:
        case "aes":
            _expect(found, kty="oct")
            return Secret(_bytes(found, "k"))
        case "rsa":
            _expect(found, kty="RSA")
            public = rsa.RSAPublicNumbers(_number(found, "e"), _number(found, "n"))
            p, q, d, dp, dq, qi = (_number(found, name) for name in ("p", "q", "d", "dp", "dq", "qi"))
            return _of_key(suite, rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, public).private_key())
        case "ec":
            _expect(found, kty="EC")
            curve = _CURVES[found["crv"]]()
            point = ec.EllipticCurvePublicNumbers(_number(found, "x"), _number(found, "y"), curve)
            return _of_key(suite, ec.EllipticCurvePrivateNumbers(_number(found, "d"), point).private_key())
        case "ed25519":
            _expect(found, kty="OKP", crv="Ed25519")
            signing = ed25519.Ed25519PrivateKey.from_private_bytes(_bytes(found, "d"))
            _own(found, "x", signing.public_key().public_bytes_raw())
            return _of_key(suite, signing)
        case "ml-dsa":
            _expect(found, kty="AKP", alg=suite.name)
            lattice = mldsa.MLDSA65PrivateKey.from_seed_bytes(_bytes(found, "priv"))
            _own(found, "pub", lattice.public_key().public_bytes_raw())
            return _of_key(suite, lattice)
        case _:
            raise ValueError("no JWK for it")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs) or len(pairs) > MAX_JSON_MEMBERS:
        raise ValueError("a member is there twice, or too many are")
    return found


def _refuse(_: str) -> NoReturn:
    raise ValueError("no such numbers in a JWK")


def _expect(found: dict[str, Any], **wanted: str) -> None:
    if any(found.get(name) != value for name, value in wanted.items()):
        raise ValueError("another kind of key")


def _own(found: dict[str, Any], name: str, public: bytes) -> None:
    """A public half that is given must be that of the private one."""
    if name in found and _bytes(found, name) != public:
        raise ValueError("another key's public half")


def _bytes(found: dict[str, Any], name: str) -> bytes:
    """A member of base64url without padding, in its one spelling."""
    text = found[name]
    if not isinstance(text, str):
        raise ValueError("not text")
    raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise ValueError("not base64url")
    return raw


def _number(found: dict[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(found, name), "big")
