"""Signatures: Ed25519 (RFC 8032), keys as PEM (PKCS#8, SPKI) and as JWK (RFC 8037).

A key is named by its JWK thumbprint (RFC 7638), so the same key has the same `kid` everywhere.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from keystead.core import canonical
from keystead.core.errors import Refusal
from keystead.core.secret import Secret

SEED_BYTES = 32
SIGNATURE_BYTES = 64


class VerifyKey:
    """The public half: 32 bytes, freely shared."""

    __slots__ = ("_key", "kid", "raw")

    def __init__(self, raw: bytes) -> None:
        """From its 32 bytes.

        Raises:
            Refusal: `InvalidKey`.
        """
        try:
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError as error:
            raise _invalid("an Ed25519 public key has 32 bytes") from error
        self.raw = bytes(raw)
        thumb = canonical.encode({"crv": "Ed25519", "kty": "OKP", "x": _b64(self.raw)})
        self.kid = _b64(hashlib.sha256(thumb).digest())

    @classmethod
    def from_pem(cls, pem: bytes) -> "VerifyKey":
        """From a PEM SubjectPublicKeyInfo.

        Raises:
            Refusal: `InvalidKey`.
        """
        try:
            key = serialization.load_pem_public_key(pem)
        except ValueError as error:
            raise _invalid("not a public key in PEM") from error
        if not isinstance(key, Ed25519PublicKey):
            raise _invalid("not an Ed25519 key")
        return cls(key.public_bytes_raw())

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, object]) -> "VerifyKey":
        """From a JWK with kty OKP and crv Ed25519; other members are ignored.

        Raises:
            Refusal: `InvalidKey`.
        """
        text = jwk.get("x")
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519" or not isinstance(text, str):
            raise _invalid("not an Ed25519 JWK")
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise _invalid("x is not base64url") from error
        return cls(raw)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's over `message`."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        """PEM SubjectPublicKeyInfo."""
        return self._key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def jwk(self) -> dict[str, str]:
        """The public JWK, with `kid`, `use` and `alg`."""
        return {"kty": "OKP", "crv": "Ed25519", "x": _b64(self.raw), "kid": self.kid, "use": "sig", "alg": "EdDSA"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"VerifyKey({self.kid})"


class SigningKey:
    """The private half. Neither pickled nor copied; its repr shows the public name alone."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        """From its seed of 32 bytes, e.g. a subkey: the same seed is the same key.

        Raises:
            ValueError: wrong length.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError("an Ed25519 seed has 32 bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = VerifyKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new random one."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_pem(cls, pem: Secret) -> "SigningKey":
        """From an unencrypted PEM PKCS#8.

        Raises:
            Refusal: `InvalidKey`.
        """
        try:
            key = serialization.load_pem_private_key(pem.reveal(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise _invalid("not an unencrypted Ed25519 private key in PEM")
        return cls(key.private_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """The signature over `message`: 64 bytes, deterministic."""
        return self._key.sign(message)

    def reveal_pem(self) -> Secret:
        """The key itself: PEM PKCS#8, unencrypted."""
        return Secret(
            self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def reveal_jwk(self) -> dict[str, str]:
        """The key itself as a JWK with `d`, for a JOSE library. Never log, store or send it."""
        return {**self.public.jwk(), "d": _b64(self._key.private_bytes_raw())}

    def __repr__(self) -> str:
        return f"SigningKey({self.public.kid})"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a signing key is neither pickled nor copied")

    __reduce__ = __reduce_ex__ = __copy__ = __deepcopy__ = __getstate__ = _refuse


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _invalid(why: str) -> Refusal:
    return Refusal("InvalidKey", why, hint="send the Ed25519 key as PEM or JWK")
