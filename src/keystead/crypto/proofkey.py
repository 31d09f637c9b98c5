"""Public keys that clients prove possession of: Ed25519, and RSA of 2048 to 4096 bits.

    Ed25519   {"crv":"Ed25519","kty":"OKP","x":...}       signs by RFC 8032, JOSE `EdDSA` (or `Ed25519`)
    RSA       {"e":...,"kty":"RSA","n":...}               signs by RSASSA-PKCS1-v1_5 with SHA-256, JOSE `RS256`

A key is named by its thumbprint (RFC 7638: SHA-256, base64url) and, where clients of OCI write it, by its fingerprint
(MD5 of the SubjectPublicKeyInfo, sixteen pairs of hex with colons): a name, nothing rests on MD5. Only public members
are read; a key that comes with a private member is refused, because whoever sent it has given it away.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from keystead.core import canonical
from keystead.core.errors import Refusal

MIN_BITS, MAX_BITS = 2048, 4096
MAX_EXPONENT = 2**32
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_PADDING, _SHA256 = padding.PKCS1v15(), hashes.SHA256()
_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class PublicJwk:
    """One public key. Thread-safe, freely shared; equal to another of the same thumbprint."""

    __slots__ = ("_key", "algorithms", "fingerprint", "spki", "text", "thumbprint")

    def __init__(self, key: ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> None:
        self._key = key
        if isinstance(key, rsa.RSAPublicKey):
            numbers = key.public_numbers()
            needed = {"kty": "RSA", "n": _uint(numbers.n), "e": _uint(numbers.e)}
            self.algorithms: frozenset[str] = frozenset({"RS256"})
        else:
            needed = {"kty": "OKP", "crv": "Ed25519", "x": _b64(key.public_bytes_raw())}
            self.algorithms = frozenset({"EdDSA", "Ed25519"})
        encoded = canonical.encode(needed)
        self.text = encoded.decode()
        self.thumbprint = _b64(hashlib.sha256(encoded).digest())
        self.spki = key.public_bytes(*_SPKI)
        digest = hashlib.md5(self.spki, usedforsecurity=False).hexdigest()
        self.fingerprint = ":".join(digest[at : at + 2] for at in range(0, 32, 2))

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> "PublicJwk":
        """From a JWK; members that say nothing of the key are ignored. Raises: Refusal `InvalidKey`."""
        if _PRIVATE & set(jwk):
            raise _invalid("it contains a private key, which nobody else may have")
        if jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519":
            return cls._ed25519(_bytes(jwk.get("x")))
        if jwk.get("kty") == "RSA":
            n, e = (int.from_bytes(_bytes(jwk.get(name))) for name in ("n", "e"))
            try:
                return cls(_sound(rsa.RSAPublicNumbers(e, n).public_key()))
            except ValueError as error:
                raise _invalid("not an RSA key") from error
        raise _invalid("neither Ed25519 nor RSA")

    @classmethod
    def from_pem(cls, text: str) -> "PublicJwk":
        """From a PEM SubjectPublicKeyInfo. Raises: Refusal `InvalidKey`."""
        if "PRIVATE KEY" in text:
            raise _invalid("it contains a private key, which nobody else may have")
        try:
            key = serialization.load_pem_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _invalid("not a public key in PEM") from error
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls(key)
        if isinstance(key, rsa.RSAPublicKey):
            return cls(_sound(key))
        raise _invalid("neither Ed25519 nor RSA")

    @classmethod
    def _ed25519(cls, raw: bytes) -> "PublicJwk":
        try:
            return cls(ed25519.Ed25519PublicKey.from_public_bytes(raw))
        except ValueError as error:
            raise _invalid("an Ed25519 public key has 32 bytes") from error

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over `message`, in the one way its kind signs."""
        try:
            if isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(signature, message, _PADDING, _SHA256)
            else:
                self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @property
    def kind(self) -> str:
        """`Ed25519` or `RSA-<bits>`."""
        return f"RSA-{self._key.key_size}" if isinstance(self._key, rsa.RSAPublicKey) else "Ed25519"

    def pem(self) -> str:
        """PEM SubjectPublicKeyInfo."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_bytes(serialization.Encoding.PEM, form).decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicJwk) and self.thumbprint == other.thumbprint

    def __hash__(self) -> int:
        return hash(self.thumbprint)

    def __repr__(self) -> str:
        return f"PublicJwk({self.thumbprint})"


def _sound(key: rsa.RSAPublicKey) -> rsa.RSAPublicKey:
    numbers = key.public_numbers()
    if not MIN_BITS <= key.key_size <= MAX_BITS or numbers.e >= MAX_EXPONENT or numbers.e < 3:
        raise _invalid(f"an RSA key has {MIN_BITS} to {MAX_BITS} bits")
    return key


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _uint(number: int) -> str:
    return _b64(number.to_bytes((number.bit_length() + 7) // 8))


def _bytes(text: object) -> bytes:
    if not isinstance(text, str) or not 1 <= len(text) <= 1024:
        raise _invalid("a member is missing or no text")
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("a member is not base64url") from error


def _invalid(why: str) -> Refusal:
    return Refusal("InvalidKey", f"not a public key to sign with: {why}", hint="Ed25519, or RSA of 2048 to 4096 bits")
