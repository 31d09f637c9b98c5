"""Envelopes whose message key is wrapped by a key that cannot derive: RSA, hybrid KEM, a token's, another KMS's.

Promise: that of `crypto/envelope`, by any key that can wrap 32 bytes. What opens is exactly what was sealed, for the
same key, version and `Binding`; everything else raises `Unreadable`, alike for every cause, a broken encapsulation
included: when it does not open, a random message key takes its place and the commitment fails like any other.

    magic "KSE" | format 1 | suite u16 | n u8 | key id (n) | key version u32     prefix, as in every envelope
    e u16 | encapsulation (e)                                                    the message key, wrapped
    commitment (32)
    ciphertext | tag (16)

    message key             = 32 fresh random bytes per envelope
    prk                     = HKDF-Extract-SHA512(salt="keystead encapsulated envelope v1", ikm=message key)
    key 32 || commitment 32 = HKDF-Expand-SHA512(prk, info=prefix || e || encapsulation || binding, 64 bytes)
    ciphertext | tag        = AES-256-GCM(key, nonce=0^96, aad=prefix || e || encapsulation || commitment || binding)

    suite 16  RSA-OAEP, SHA-256 for both hashes, no label     suite 18  by a token, in whatever way it wraps
    suite 17  HPKE X25519-MLKEM768                            suite 19  by another KMS, in whatever way it encrypts

Invariants:
- The wrapping key sees random message keys alone: neither plaintext nor its length reaches a token or another KMS.
- Encapsulation, prefix and binding are authenticated by commitment and tag: a wrapping that is malleable, or that wraps
  one key in two ways, does not make two envelopes of one.
- Same work: unwrapping, deriving, commitment and tag, whichever of them fails.

Source: RFC 5869, NIST SP 800-38D; docs/formats/envelope.md.
"""

import secrets
import struct
from typing import NoReturn, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keystead.core.errors import Unreadable
from keystead.crypto.envelope import (
    COMMITMENT_BYTES,
    KEY_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    Binding,
    prefix_of,
    too_large,
)

SUITE_RSA_OAEP_SHA256 = 16
SUITE_HPKE_X25519_MLKEM768 = 17
SUITE_TOKEN = 18
SUITE_EXTERNAL = 19
SUITES = (SUITE_RSA_OAEP_SHA256, SUITE_HPKE_X25519_MLKEM768, SUITE_TOKEN, SUITE_EXTERNAL)
MAX_ENCAPSULATION_BYTES = 4096

_EXTRACT_SALT = b"keystead encapsulated envelope v1"
_NONCE = bytes(12)
_U16 = struct.Struct(">H")


class KeyWrapping(Protocol):
    """Wraps 32-byte keys; all that a token or another KMS has to be able to do. Thread-safe."""

    def wrap(self, key: bytes) -> bytes:
        """The wrapped form, 1 to 4096 bytes. Raises: Unavailable (it does not answer), Refusal (it will not)."""
        ...

    def unwrap(self, wrapped: bytes) -> bytes:
        """The key that `wrap` was given.

        Raises:
            Unreadable: it does not open, for every cause alike.
            Unavailable: the keystore does not answer; nothing is known.
        """
        ...


class Encapsulated:
    """One version of a key that wraps by encapsulation. Thread-safe if its wrapping is."""

    __slots__ = ("_length_at", "_prefix", "_wrapping", "key_id", "suite", "version")

    def __init__(self, wrapping: KeyWrapping, suite: int, key_id: str, version: int) -> None:
        """`suite`, `key_id` and `version` are written into every blob.

        Raises:
            ValueError: not a suite of this module, an empty or overlong key id, or a version outside 0..2^32-1.
        """
        if suite not in SUITES:
            raise ValueError("not a suite that encapsulates")
        self._wrapping = wrapping
        self.suite = suite
        self.key_id = key_id
        self.version = version
        self._prefix = prefix_of(suite, key_id, version)
        self._length_at = len(self._prefix)

    def seal(self, plaintext: bytes, binding: Binding) -> bytes:
        """Encrypt up to 1 MiB of `plaintext` for `binding`.

        Raises:
            Refusal: `TooLarge`; what the wrapping refuses.
            Unavailable: the keystore does not answer.
        """
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise too_large()
        message_key = secrets.token_bytes(KEY_BYTES)
        wrapped = self._wrapping.wrap(message_key)
        if not 0 < len(wrapped) <= MAX_ENCAPSULATION_BYTES:
            raise ValueError("a wrapped message key has 1 to 4096 bytes")
        header = self._prefix + _U16.pack(len(wrapped)) + wrapped
        key, commitment = _derive(message_key, header, binding.encoded)
        header += commitment
        return header + AESGCM(key).encrypt(_NONCE, plaintext, header + binding.encoded)

    def sealed(self, blob: bytes) -> bool:
        """Whether `blob` says that this version of this key made it. Nothing of that is authenticated."""
        return blob.startswith(self._prefix)

    def open(self, blob: bytes, binding: Binding) -> bytes:
        """Decrypt a blob that `seal` made with this key for this `binding`.

        Raises:
            Unreadable: for every cause alike.
            Unavailable: the keystore does not answer.
        """
        at = self._length_at + _U16.size
        if len(blob) >= at and blob.startswith(self._prefix):
            (length,) = _U16.unpack_from(blob, self._length_at)
            end = at + length
            text_at = end + COMMITMENT_BYTES
            if 0 < length <= MAX_ENCAPSULATION_BYTES and len(blob) >= text_at + TAG_BYTES:
                key, commitment = _derive(self._message_key(blob[at:end]), blob[:end], binding.encoded)
                committed = secrets.compare_digest(commitment, blob[end:text_at])
                try:
                    text = AESGCM(key).decrypt(_NONCE, blob[text_at:], blob[:text_at] + binding.encoded)
                except InvalidTag:
                    committed = False  # raised below, so that no cause hangs on the error
                if committed:
                    return text
        raise Unreadable

    def _message_key(self, wrapped: bytes) -> bytes:
        # A wrapping that says whether its padding was right is an oracle (Bleichenbacher, Manger): its "no" is not
        # passed on, but turned into a key that fits nothing.
        other = secrets.token_bytes(KEY_BYTES)
        try:
            found = self._wrapping.unwrap(wrapped)
        except Unreadable:
            return other
        return found if len(found) == KEY_BYTES else other

    def __repr__(self) -> str:
        return f"Encapsulated({self.key_id!r}, version={self.version}, suite={self.suite})"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a key is neither pickled nor copied")

    __reduce__ = __reduce_ex__ = __copy__ = __deepcopy__ = __getstate__ = _refuse


def _derive(message_key: bytes, header: bytes, encoded: bytes) -> tuple[bytes, bytes]:
    extract = hmac.HMAC(_EXTRACT_SALT, hashes.SHA512())
    extract.update(message_key)
    # HKDF-Expand of 64 bytes with SHA-512 is exactly one block: HMAC(prk, info || 0x01).
    expand = hmac.HMAC(extract.finalize(), hashes.SHA512())
    expand.update(header + encoded + b"\x01")
    block = expand.finalize()
    return block[:KEY_BYTES], block[KEY_BYTES:]
