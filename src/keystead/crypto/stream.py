"""Chunked encrypted stream, format version 1 (docs/formats/stream.md), for backups and other things of any length.

Promise: `decrypt_stream` gives out exactly the bytes that were encrypted, in order and to the end, or raises
`Unreadable`; nothing is given out before it is verified. A flipped bit, another key, changed fields, chunks dropped,
repeated, reordered or taken from another stream, a stream that is cut short or goes on: all alike.

    magic "KSS" | format 1 | suite u16 | n u32 | fields: canonical JSON object (n) | salt (32)     header
    commitment (32)
    chunk 0 | chunk 1 | ...     each: ciphertext of 65,536 bytes (the last one: 0 to 65,536) | tag (16)

    prk                     = HKDF-Extract-SHA512(salt="keystead stream v1", ikm=key)
    key 32 || commitment 32 = HKDF-Expand-SHA512(prk, info=header, 64 bytes)
    chunk i                 = AES-256-GCM(key, nonce=i as u88 || last u8, aad="")

The fields are readable by anyone and authenticated: the key of the chunks depends on every byte of the header, and the
commitment is compared, in constant time, before the first chunk is opened. They tell which key opens the stream and
what it is (system, time, position, data keys wrapped in envelopes), so that a backup opens after its source is gone.

An empty last chunk is legal only when it is the only one. Integers are big endian.

Source: STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", 2015), as age uses it.
"""

import json
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time, hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keystead.core import canonical
from keystead.core.canonical import Value
from keystead.core.errors import Refusal, Unreadable

MAGIC = b"KSS\x01"
SUITE_HKDF_SHA512_AES256_GCM = 1
KEY_BYTES = 32
SALT_BYTES = 32
COMMITMENT_BYTES = 32
TAG_BYTES = 16
CHUNK_BYTES = 64 * 1024
MAX_FIELDS_BYTES = 1 << 20

_EXTRACT_SALT = b"keystead stream v1"
_FIXED = struct.Struct(">4sHI")  # magic and format, suite, length of the fields
_SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES


class Source(Protocol):
    """Where a stream is read from: a binary file, or `Reader`."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty only at the end."""
        ...


class Reader:
    """A `Source` over pieces of any size."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; empty only at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What a stream says about itself. Authentic only once `verify_header` or `decrypt_stream` has returned.

    fields: what the writer put there. raw: the bytes as read, from the magic to the salt. commitment: 32 bytes.
    """

    fields: Mapping[str, Value]
    raw: bytes = field(repr=False)
    commitment: bytes = field(repr=False)


def encrypt_stream(key: bytes, fields: Mapping[str, Value], pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Encrypt `pieces` of any size under a key of 32 bytes; the first bytes given out are the header with `fields`.

    One key may encrypt any number of streams: each derives its own from a random salt.

    Raises:
        ValueError: wrong key length, or fields without a canonical form (at once, before anything is given out).
        Refusal: `TooLarge` when the fields take more than 1 MiB.
    """
    body = canonical.encode(dict(fields))
    if len(body) > MAX_FIELDS_BYTES:
        raise Refusal("TooLarge", "the fields of a stream take at most 1 MiB", kind="too_large")
    salt = secrets.token_bytes(SALT_BYTES)
    raw = _FIXED.pack(MAGIC, SUITE_HKDF_SHA512_AES256_GCM, len(body)) + body + salt
    cipher, commitment = _derive(key, raw)
    return _encrypt(cipher, raw + commitment, pieces)


def read_header(source: Source) -> StreamHeader:
    """Read the header, to learn which key opens the stream. Nothing in it is authentic yet.

    Raises:
        Unreadable: not a stream, of an unknown version or suite, or cut short.
    """
    fixed = _read(source, _FIXED.size)
    if len(fixed) == _FIXED.size:
        magic, suite, length = _FIXED.unpack(fixed)
        if magic == MAGIC and suite == SUITE_HKDF_SHA512_AES256_GCM and length <= MAX_FIELDS_BYTES:
            rest = _read(source, length + SALT_BYTES + COMMITMENT_BYTES)
            whole = len(rest) == length + SALT_BYTES + COMMITMENT_BYTES
            fields = _fields(rest[:length]) if whole else None
            if fields is not None:
                raw = fixed + rest[: length + SALT_BYTES]
                return StreamHeader(fields, raw, rest[length + SALT_BYTES :])
    raise Unreadable


def verify_header(key: bytes, header: StreamHeader) -> None:
    """Check that `header` is as its writer, who had `key`, made it.

    Raises:
        Unreadable: it is not.
    """
    _cipher(key, header)


def decrypt_stream(key: bytes, source: Source, header: StreamHeader | None = None) -> Iterator[bytes]:
    """Decrypt the rest of `source` after `header`, or all of it without one.

    When this returns, the header is authentic; each chunk is verified before it is given out. That the stream is whole
    is known only when the iterator ends by itself: act on the plaintext only then.

    Raises:
        ValueError: wrong key length.
        Unreadable: at once for a wrong key or header; while iterating for anything wrong further on.
    """
    return _decrypt(_cipher(key, header or read_header(source)), source)


def _encrypt(cipher: AESGCM, head: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield head
    index = 0
    held = bytearray()
    for piece in pieces:
        held += piece
        # More than a chunk must be held: what follows decides whether a full chunk is the last one.
        start = 0
        while len(held) - start > CHUNK_BYTES:
            yield cipher.encrypt(_nonce(index, last=False), held[start : start + CHUNK_BYTES], None)
            start += CHUNK_BYTES
            index += 1
        del held[:start]
    yield cipher.encrypt(_nonce(index, last=True), held, None)


def _decrypt(cipher: AESGCM, source: Source) -> Iterator[bytes]:
    index = 0
    chunk = _read(source, _SEALED_CHUNK_BYTES)
    while following := _read(source, _SEALED_CHUNK_BYTES):
        yield _open(cipher, chunk, index, last=False)
        chunk = following
        index += 1
    plaintext = _open(cipher, chunk, index, last=True)
    if index and not plaintext:
        raise Unreadable
    if plaintext:
        yield plaintext


def _open(cipher: AESGCM, chunk: bytes, index: int, *, last: bool) -> bytes:
    if len(chunk) >= TAG_BYTES:
        try:
            return cipher.decrypt(_nonce(index, last=last), chunk, None)
        except InvalidTag:
            pass  # raised below, so that no cause hangs on the error
    raise Unreadable


def _nonce(index: int, *, last: bool) -> bytes:
    return index.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def _cipher(key: bytes, header: StreamHeader) -> AESGCM:
    cipher, commitment = _derive(key, header.raw)
    # `fields` is compared too: a header put together by hand must not pass as the bytes that were verified.
    if not constant_time.bytes_eq(commitment, header.commitment) or _fields_of(header.raw) != header.fields:
        raise Unreadable
    return cipher


def _derive(key: bytes, raw: bytes) -> tuple[AESGCM, bytes]:
    if len(key) != KEY_BYTES:
        raise ValueError("a stream key has 32 bytes")
    extract = hmac.HMAC(_EXTRACT_SALT, hashes.SHA512())
    extract.update(key)
    # HKDF-Expand of 64 bytes with SHA-512 is exactly one block: HMAC(prk, info || 0x01).
    expand = hmac.HMAC(extract.finalize(), hashes.SHA512())
    expand.update(raw + b"\x01")
    block = expand.finalize()
    return AESGCM(block[:KEY_BYTES]), block[KEY_BYTES:]


def _fields_of(raw: bytes) -> Mapping[str, Value] | None:
    return _fields(raw[_FIXED.size : -SALT_BYTES])


def _fields(body: bytes) -> Mapping[str, Value] | None:
    try:
        found = json.loads(body)
        # One spelling only: what is shown is what is authenticated.
        if isinstance(found, dict) and canonical.encode(found) == body:
            return found
    except (ValueError, RecursionError):
        pass
    return None


def _read(source: Source, size: int) -> bytes:
    """Exactly `size` bytes, or fewer at the end. A pipe gives what it has, so ask until it is enough."""
    data = source.read(size)
    if len(data) == size or not data:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and (data := source.read(missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
