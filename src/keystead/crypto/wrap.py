"""Wrapping keys for transport: AES-KWP, and RSA-OAEP with AES-KWP for what RSA alone cannot take.

    AES-KWP           RFC 5649, NIST SP 800-38F: any 1 to 2^20 bytes under an AES key; deterministic, authenticated
    RSA-AES-KWP       RSA-OAEP-SHA256(fresh AES-256 key) || AES-KWP(that key, material)   (CKM_RSA_AES_KEY_WRAP)

Neither says which key wrapped, nor what for: they are what hardware and other services speak. What Keystead keeps is
always an envelope.
"""

import secrets

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding

from keystead.core.errors import Unreadable
from keystead.crypto.encapsulate import KeyWrapping

KEY_BYTES = 32
MAX_BYTES = 1 << 20


class AesKwp:
    """AES-KWP under one AES key of 16, 24 or 32 bytes: a `KeyWrapping`. Thread-safe."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Raises: ValueError, wrong length."""
        if len(key) not in (16, 24, 32):
            raise ValueError("an AES key has 16, 24 or 32 bytes")
        self._key = key

    def wrap(self, key: bytes) -> bytes:
        """1 to 2^20 bytes, wrapped: padded to a multiple of eight, and eight more. Raises: ValueError, wrong length."""
        if not 0 < len(key) <= MAX_BYTES:
            raise ValueError("AES-KWP wraps 1 to 1,048,576 bytes")
        return aes_key_wrap_with_padding(self._key, key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """What `wrap` was given. Raises: Unreadable, for every cause alike."""
        if 16 <= len(wrapped) <= MAX_BYTES + 16:
            try:
                return aes_key_unwrap_with_padding(self._key, wrapped)
            except (InvalidUnwrap, ValueError):
                pass  # raised below, so that no cause hangs on the error
        raise Unreadable

    def __repr__(self) -> str:
        return "AesKwp(…)"


def rsa_aes_wrap(rsa: KeyWrapping, material: bytes) -> bytes:
    """`material` under a fresh AES-256 key, which `rsa` wraps. Raises: ValueError, wrong length."""
    key = secrets.token_bytes(KEY_BYTES)
    return rsa.wrap(key) + AesKwp(key).wrap(material)


def rsa_aes_unwrap(rsa: KeyWrapping, modulus_bytes: int, wrapped: bytes) -> bytes:
    """What `rsa_aes_wrap` was given. Raises: Unreadable, for every cause alike."""
    other = secrets.token_bytes(KEY_BYTES)
    try:
        key = rsa.unwrap(wrapped[:modulus_bytes])
    except Unreadable:
        key = other  # which half was wrong is not told
    return AesKwp(key if len(key) == KEY_BYTES else other).unwrap(wrapped[modulus_bytes:])
