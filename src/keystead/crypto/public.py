"""Public keys as others read them: PEM and JWK, both ways.

    PEM   SubjectPublicKeyInfo (RFC 7468), every algorithm
    JWK   RSA (RFC 7518), EC (RFC 7518), OKP (RFC 8037), AKP for ML-DSA-65 and X-Wing, with `kid`

`kid` is the thumbprint (RFC 7638), so that one key has one name everywhere. Members of AKP keys: `alg` and `pub`.
"""

import base64
import binascii
import hashlib
import textwrap

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from keystead.core import canonical
from keystead.crypto.asymmetric import XWING_PUBLIC_BYTES, PublicKey

_CURVES = {"EC-P256": "P-256", "EC-P384": "P-384", "EC-P521": "P-521"}


def pem(key: PublicKey) -> str:
    """PEM SubjectPublicKeyInfo, lines of 64 letters."""
    body = "\n".join(textwrap.wrap(base64.b64encode(key.spki).decode(), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def from_pem(text: str) -> bytes:
    """The SPKI DER in a PEM. Whether it is a key says `PublicKey`.

    Raises:
        ValueError: not a PEM of a public key.
    """
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0] != "-----BEGIN PUBLIC KEY-----" or lines[-1] != "-----END PUBLIC KEY-----":
        raise ValueError("not a public key in PEM")
    try:
        return base64.b64decode("".join(line.strip() for line in lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise ValueError("not a public key in PEM") from error


def jwk(key: PublicKey) -> dict[str, str]:
    """The public JWK, with `kid`, and `use` where keys of its kind have only one."""
    inner = key.key
    if isinstance(inner, rsa.RSAPublicKey):
        numbers = inner.public_numbers()
        needed = {"kty": "RSA", "n": _uint(numbers.n), "e": _uint(numbers.e)}
    elif isinstance(inner, ec.EllipticCurvePublicKey):
        point = inner.public_numbers()
        size = (inner.curve.key_size + 7) // 8
        x, y = _b64(point.x.to_bytes(size, "big")), _b64(point.y.to_bytes(size, "big"))
        needed = {"kty": "EC", "crv": _CURVES[key.suite.name], "x": x, "y": y}
    elif isinstance(inner, ed25519.Ed25519PublicKey):
        needed = {"kty": "OKP", "crv": "Ed25519", "x": _b64(inner.public_bytes_raw())}
    elif isinstance(inner, mldsa.MLDSA65PublicKey):
        needed = {"kty": "AKP", "alg": "ML-DSA-65", "pub": _b64(inner.public_bytes_raw())}
    else:
        needed = {"kty": "AKP", "alg": "HPKE-X25519-MLKEM768", "pub": _b64(key.spki[-XWING_PUBLIC_BYTES:])}
    made = {**needed, "kid": _b64(hashlib.sha256(canonical.encode(needed)).digest())}
    if key.suite.operations == ("sign", "verify"):
        made["use"] = "sig"
    return made


def _uint(number: int) -> str:
    return _b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
