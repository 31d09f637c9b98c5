"""Wrapped-key and ciphertext envelope, format version 1 (docs/formats/envelope.md).

Promise: what `Kek.seal` made opens only with the same key material, key id, key version and `Binding`. Everything else
(any flipped bit, another key, another context, cut, extended, foreign) raises `Unreadable`, alike for every cause.

    magic "KSE" | format 1 | suite u16 | n u8 | key id (n) | key version u32 | salt (32)      header
    commitment (32)
    ciphertext | tag (16)

    prk                     = HKDF-Extract-SHA512(salt="keystead envelope v1", ikm=key material)
    key 32 || commitment 32 = HKDF-Expand-SHA512(prk, info=header || binding, 64 bytes)
    ciphertext | tag        = AES-256-GCM(key, nonce=0^96, aad=header || commitment || binding)

Suite 1 is keyed by an AES-256 key. Suites 2 and 3 are the same with AES-128 and AES-192, whose message keys are the
first 16 and 24 bytes of those 32; the suite is in the header, so that no key opens another's. Suites from 16 on carry a
message key wrapped by another kind of key: `crypto/encapsulate`.

Invariants:
- Fresh key per message: the random 256-bit salt makes every message key new, so the all-zero nonce is used once per
  key and there is no bound on the number of messages that matters.
- Key-committing: the commitment is compared, in constant time; a blob that opens under two keys would be a collision
  of SHA-512 truncated to 256 bits.
- Same work: commitment and tag are both looked at, whichever fails; how long it takes tells of neither. A header that
  is another key's is refused at once: it is read in clear.
- Integers are big endian. Header and binding carry their lengths, so no two contexts encode alike.

Sources: RFC 5869 (HKDF), NIST SP 800-38D (GCM); C2SP XAES-256-GCM and the AWS Encryption SDK's suite 0x0478 for the
idea of a derived key with a commitment.
"""

import secrets
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from secrets import compare_digest
from typing import ClassVar, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keystead.core.errors import Refusal, Unreadable
from keystead.crypto.suites import wrong_operation

MAGIC = b"KSE\x01"
SUITE_HKDF_SHA512_AES256_GCM = 1
SUITE_HKDF_SHA512_AES128_GCM = 2
SUITE_HKDF_SHA512_AES192_GCM = 3
FIRST_ENCAPSULATED = 16
KEY_BYTES = 32
SALT_BYTES = 32
COMMITMENT_BYTES = 32
TAG_BYTES = 16
MAX_KEY_ID_BYTES = 255
MAX_PLAINTEXT_BYTES = 1 << 20
MAX_ASSOCIATED_BYTES = 1 << 20

_EXTRACT_SALT = b"keystead envelope v1"
_NONCE = bytes(12)
# HKDF-Expand of 64 bytes with SHA-512 is exactly one block: HMAC(prk, info || 0x01).
_FIRST_BLOCK = b"\x01"
_FIXED = struct.Struct(">4sHB")  # magic and format, suite, length of the key id
_U32 = struct.Struct(">I")
# How much there is at least after the key version, by suite. An encapsulation has a length (u16) and at least a byte.
_LEAST_AFTER_VERSION = {
    **dict.fromkeys((1, 2, 3), SALT_BYTES + COMMITMENT_BYTES + TAG_BYTES),
    **dict.fromkeys(range(FIRST_ENCAPSULATED, FIRST_ENCAPSULATED + 4), 3 + COMMITMENT_BYTES + TAG_BYTES),
}
_LENGTHS = struct.Struct(">5HI")  # five fields of a binding, associated data


@dataclass(frozen=True, slots=True)
class Binding:
    """What a blob is for. It is not stored: who opens must know it, and a blob moved elsewhere does not open.

    purpose: what the plaintext is, e.g. "key-material", "store-key", "data-key", "customer-data".
    tenancy, region, resource: ids of whom it belongs to; parent: the id of what wraps it. Empty where there is none.
    associated_data: bytes that the caller adds, at most 1 MiB.
    encoded: the bytes that are authenticated, made once; keep the object to save the microsecond.

    Raises:
        ValueError: a field is not encodable as UTF-8 or longer than 65,535 bytes.
        Refusal: `TooLarge` when the associated data is too long.
    """

    purpose: str
    tenancy: str
    region: str
    resource: str
    parent: str
    associated_data: bytes = b""
    encoded: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "encoded", _encode(self))


@dataclass(frozen=True, slots=True)
class Header:
    """What a blob says about itself, unauthenticated: good for finding the key, for nothing else."""

    key_id: str
    key_version: int
    suite: int


class Kek:
    """One version of a key that wraps: an AES-256 key ready for use. Thread-safe; keep it cached on the hot path."""

    __slots__ = ("_commitment_at", "_least", "_mac", "_prefix", "_salt_at", "_text_at", "key_id", "version")
    MATERIAL_BYTES: ClassVar[int] = KEY_BYTES
    SUITE: ClassVar[int] = SUITE_HKDF_SHA512_AES256_GCM

    def __init__(self, material: bytes, key_id: str, version: int) -> None:
        """Make it from 32 bytes of `material`; `key_id` and `version` are written into every blob.

        Raises:
            ValueError: wrong length of material, an empty or overlong key id, or a version outside 0..2^32-1.
        """
        if len(material) != self.MATERIAL_BYTES:
            raise ValueError(f"a wrapping key has {self.MATERIAL_BYTES} bytes")
        self.key_id = key_id
        self.version = version
        self._prefix = prefix_of(self.SUITE, key_id, version)
        self._salt_at = len(self._prefix)
        self._commitment_at = self._salt_at + SALT_BYTES
        self._text_at = self._commitment_at + COMMITMENT_BYTES
        self._least = self._text_at + TAG_BYTES
        extract = hmac.HMAC(_EXTRACT_SALT, hashes.SHA512())
        extract.update(material)
        # The keyed HMAC state is kept, not the key: a copy of it is all that HKDF-Expand needs per message.
        self._mac = hmac.HMAC(extract.finalize(), hashes.SHA512())

    def seal(self, plaintext: bytes, binding: Binding) -> bytes:
        """Encrypt up to 1 MiB of `plaintext` for `binding`.

        Raises:
            Refusal: `TooLarge`.
        """
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise too_large()
        header = self._prefix + secrets.token_bytes(SALT_BYTES)
        encoded = binding.encoded
        mac = self._mac.copy()
        mac.update(header + encoded + _FIRST_BLOCK)
        block = mac.finalize()
        header += block[KEY_BYTES:]
        return header + AESGCM(block[: self.MATERIAL_BYTES]).encrypt(_NONCE, plaintext, header + encoded)

    def sealed(self, blob: bytes) -> bool:
        """Whether `blob` says that this version of this key made it. Nothing of that is authenticated: see `peek`."""
        return blob.startswith(self._prefix)

    def open(self, blob: bytes, binding: Binding) -> bytes:
        """Decrypt a blob that `seal` made with this key for this `binding`.

        Raises:
            Unreadable: for every cause alike.
        """
        text = self.open_each((blob,), binding)[0]
        if text is None:
            raise Unreadable
        return text

    def open_each(self, blobs: Iterable[bytes], binding: Binding) -> list[bytes | None]:
        """As `open`, for many blobs of one binding: a plaintext for each, None where there is none."""
        # The hot loop of batches: what it needs is looked up once.
        prefix, least, key_bytes = self._prefix, self._least, self.MATERIAL_BYTES
        commitment_at, text_at, keyed = self._commitment_at, self._text_at, self._mac.copy
        encoded = binding.encoded
        expanded = encoded + _FIRST_BLOCK
        texts: list[bytes | None] = []
        for blob in blobs:
            text = None
            if len(blob) >= least and blob.startswith(prefix):
                mac = keyed()
                mac.update(blob[:commitment_at] + expanded)
                block = mac.finalize()
                header = blob[:text_at]
                committed = compare_digest(block[KEY_BYTES:], header[commitment_at:])
                try:
                    text = AESGCM(block[:key_bytes]).decrypt(_NONCE, blob[text_at:], header + encoded)
                except InvalidTag:
                    committed = False
                if not committed:
                    text = None
            texts.append(text)
        return texts

    def sign(self, message: bytes, scheme: str = "", *, digest: bool = False) -> bytes:
        """Not with a key of this kind. Raises: Refusal, `WrongOperation`."""
        raise wrong_operation(f"AES-{self.MATERIAL_BYTES * 8}", "sign")

    def verify(self, message: bytes, signature: bytes, scheme: str = "", *, digest: bool = False) -> bool:
        """Not with a key of this kind. Raises: Refusal, `WrongOperation`."""
        raise wrong_operation(f"AES-{self.MATERIAL_BYTES * 8}", "verify")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key_id!r}, version={self.version})"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Kek is neither pickled nor copied")

    __reduce__ = __reduce_ex__ = __copy__ = __deepcopy__ = __getstate__ = _refuse


class Kek128(Kek):
    """As `Kek`, from 16 bytes: messages are encrypted by AES-128-GCM."""

    __slots__ = ()
    MATERIAL_BYTES = 16
    SUITE = SUITE_HKDF_SHA512_AES128_GCM


class Kek192(Kek):
    """As `Kek`, from 24 bytes: messages are encrypted by AES-192-GCM."""

    __slots__ = ()
    MATERIAL_BYTES = 24
    SUITE = SUITE_HKDF_SHA512_AES192_GCM


def prefix_of(suite: int, key_id: str, version: int) -> bytes:
    """How every envelope of this version of this key begins.

    Raises:
        ValueError: an empty or overlong key id, or a version outside 0..2^32-1.
    """
    name = key_id.encode()
    if not 0 < len(name) <= MAX_KEY_ID_BYTES:
        raise ValueError("a key id has 1 to 255 bytes")
    if not 0 <= version < 1 << 32:
        raise ValueError("a key version has 32 bits")
    return _FIXED.pack(MAGIC, suite, len(name)) + name + _U32.pack(version)


def too_large() -> Refusal:
    """More plaintext than one envelope takes."""
    return Refusal(
        "TooLarge", "the plaintext is larger than 1 MiB", hint="encrypt it with a data key", kind="too_large"
    )


def peek(blob: bytes) -> Header:
    """Read which key a blob names, without opening it. Nothing in the answer is authenticated.

    Raises:
        Unreadable: not an envelope, of an unknown version or suite, or cut short.
    """
    if len(blob) >= _FIXED.size:
        magic, suite, length = _FIXED.unpack_from(blob)
        end = _FIXED.size + length
        more = _LEAST_AFTER_VERSION.get(suite)
        if more is not None and magic == MAGIC and length and len(blob) >= end + _U32.size + more:
            try:
                return Header(blob[_FIXED.size : end].decode(), _U32.unpack_from(blob, end)[0], suite)
            except UnicodeDecodeError:
                pass
    raise Unreadable


def _encode(binding: Binding) -> bytes:
    purpose, tenancy, region = binding.purpose.encode(), binding.tenancy.encode(), binding.region.encode()
    resource, parent, data = binding.resource.encode(), binding.parent.encode(), binding.associated_data
    if len(data) > MAX_ASSOCIATED_BYTES:
        raise Refusal("TooLarge", "the associated data is larger than 1 MiB", kind="too_large")
    try:
        lengths = _LENGTHS.pack(len(purpose), len(tenancy), len(region), len(resource), len(parent), len(data))
    except struct.error as error:
        raise ValueError("a field of a binding has at most 65,535 bytes") from error
    return b"".join((lengths, purpose, tenancy, region, resource, parent, data))
