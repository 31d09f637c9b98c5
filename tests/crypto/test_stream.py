"""A stream comes out whole and in order, or not at all from where it was touched."""

import base64
import hashlib
import hmac
import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from keystead.core.errors import Refusal, Unreadable
from keystead.crypto import stream
from keystead.crypto.stream import CHUNK_BYTES, Reader, decrypt_stream, encrypt_stream, read_header, verify_header

VECTORS = Path(__file__).parent.parent / "vectors" / "stream-v1.json"
KEY = bytes(range(32))
FIELDS = {"system": "flights", "taken_at": "2026-01-01T00:00:00.000Z", "keys": [{"slot": 1, "blob": "AA=="}]}
SEALED = CHUNK_BYTES + 16
DATA = bytes(i * 7 % 251 for i in range(CHUNK_BYTES * 3 + 1000))


def encrypted(data: bytes, key: bytes = KEY) -> bytes:
    return b"".join(encrypt_stream(key, FIELDS, [data]))


WHOLE = encrypted(DATA)
HEAD_BYTES = len(WHOLE) - len(DATA) - 4 * 16
HEAD, CHUNKS = WHOLE[:HEAD_BYTES], [WHOLE[at : at + SEALED] for at in range(HEAD_BYTES, len(WHOLE), SEALED)]


def decrypted(blob: bytes, key: bytes = KEY) -> bytes:
    return b"".join(decrypt_stream(key, io.BytesIO(blob)))


def assert_unreadable(blob: bytes, released_at_most: int = len(DATA), key: bytes = KEY) -> None:
    released = b""
    with pytest.raises(Unreadable) as caught:
        for piece in decrypt_stream(key, io.BytesIO(blob)):
            released += piece
    assert str(caught.value) == str(Unreadable())
    assert caught.value.__context__ is None, "the cause would tell"
    assert len(released) <= released_at_most
    assert DATA.startswith(released), "only verified bytes come out"


sizes = st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 5])


@given(sizes, st.lists(st.integers(0, 2 * CHUNK_BYTES), max_size=6), st.integers(1, SEALED * 2))
@example(2 * CHUNK_BYTES, [], 1000)
def test_what_went_in_comes_out(size: int, cuts: list[int], step: int) -> None:
    data = DATA[:size]
    edges = sorted({0, size, *(cut for cut in cuts if cut < size)})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    blob = b"".join(encrypt_stream(KEY, FIELDS, [b"", *pieces, b""]))
    assert decrypted(blob) == data
    assert len(blob) == HEAD_BYTES + size + 16 * max(1, -(-size // CHUNK_BYTES))
    source = Reader(blob[at : at + step] for at in range(0, len(blob), step))
    header = read_header(source)
    assert header.fields == FIELDS
    assert b"".join(decrypt_stream(KEY, source, header)) == data


def test_every_flipped_bit_of_the_header_fails_before_any_plaintext() -> None:
    small = encrypted(b"data")
    for bit in range(HEAD_BYTES * 8):
        flipped = bytearray(small)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Unreadable):
            decrypt_stream(KEY, io.BytesIO(bytes(flipped)))
    for bit in range(HEAD_BYTES * 8, len(small) * 8):
        flipped = bytearray(small)
        flipped[bit // 8] ^= 1 << bit % 8
        assert_unreadable(bytes(flipped), 0)


@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_a_flipped_bit_fails_and_stops_what_follows(bit: int) -> None:
    flipped = bytearray(WHOLE)
    flipped[bit // 8] ^= 1 << bit % 8
    chunk = max(0, bit // 8 - HEAD_BYTES) // SEALED
    assert_unreadable(bytes(flipped), chunk * CHUNK_BYTES)


@given(st.integers(0, len(WHOLE) - 1))
@example(HEAD_BYTES)
@example(HEAD_BYTES + SEALED)
@example(HEAD_BYTES + 3 * SEALED)
def test_a_cut_stream_fails(length: int) -> None:
    assert_unreadable(WHOLE[:length])


def test_more_bytes_fail() -> None:
    for blob in (WHOLE, encrypted(b""), encrypted(DATA[:CHUNK_BYTES])):
        for more in (b"\x00", bytes(16), bytes(SEALED), blob, blob[HEAD_BYTES:]):
            with pytest.raises(Unreadable):
                decrypted(blob + more)


@given(st.lists(st.integers(0, len(CHUNKS) - 1), max_size=6))
@example([0, 1, 2])
@example([3])
@example([])
def test_only_the_original_order_opens(order: list[int]) -> None:
    blob = HEAD + b"".join(CHUNKS[i] for i in order)
    if order == [0, 1, 2, 3]:
        assert decrypted(blob) == DATA
    else:
        assert_unreadable(blob)


def test_chunks_and_headers_of_other_streams_fail() -> None:
    other = encrypted(DATA)
    assert_unreadable(HEAD + other[HEAD_BYTES:], 0)
    assert_unreadable(HEAD + CHUNKS[0] + other[HEAD_BYTES + SEALED :], CHUNK_BYTES)
    fields = b"".join(encrypt_stream(KEY, {**FIELDS, "system": "flightz"}, [DATA]))
    assert_unreadable(fields[: HEAD_BYTES - 64] + WHOLE[HEAD_BYTES - 64 :], 0)
    assert_unreadable(WHOLE, 0, bytes(32))


@given(st.binary(max_size=400))
def test_foreign_bytes_fail(blob: bytes) -> None:
    for start in (b"", stream.MAGIC, HEAD[:10], HEAD):
        assert_unreadable(start + blob, 0)


def test_an_empty_last_chunk_is_legal_only_alone() -> None:
    """Two spellings of the same plaintext would be one too many."""
    salted = HEAD[: HEAD_BYTES - 32]
    cipher = AESGCM(derive(KEY, salted)[:32])
    full = cipher.encrypt(bytes(12), DATA[:CHUNK_BYTES], None)
    empty = cipher.encrypt((1).to_bytes(11, "big") + b"\x01", b"", None)
    assert_unreadable(HEAD + full + empty, CHUNK_BYTES)


def test_a_commitment_that_does_not_match_is_refused() -> None:
    false = HEAD[:-32] + bytes(32)
    assert_unreadable(false + b"".join(CHUNKS), 0)


def test_a_header_is_what_was_verified() -> None:
    header = read_header(io.BytesIO(WHOLE))
    verify_header(KEY, header)
    for forged in (replace(header, fields={**FIELDS, "system": "x"}), replace(header, commitment=bytes(32))):
        with pytest.raises(Unreadable):
            verify_header(KEY, forged)
        with pytest.raises(Unreadable):
            decrypt_stream(KEY, io.BytesIO(WHOLE), forged)
    with pytest.raises(Unreadable):
        verify_header(bytes(32), header)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{} ", b'{"b":1,"a":1}', b'{"a":1,"a":1}', b'{"a":1.5}', b'{"a":NaN}', b"\xff", b"[" * 9999],
)
def test_fields_have_one_spelling(body: bytes) -> None:
    raw = stream._FIXED.pack(stream.MAGIC, 1, len(body)) + body + bytes(32)
    with pytest.raises(Unreadable):
        read_header(io.BytesIO(raw + derive(KEY, raw)[32:]))


def test_a_header_cannot_ask_for_more_memory_than_it_may() -> None:
    asked: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    with pytest.raises(Unreadable):
        read_header(Watched(stream._FIXED.pack(stream.MAGIC, 1, 2**32 - 1) + bytes(100)))
    assert asked == [10]


def test_refused_at_once() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        encrypt_stream(bytes(16), {}, [])
    with pytest.raises(ValueError, match="32 bytes"):
        decrypt_stream(bytes(16), io.BytesIO(WHOLE))
    with pytest.raises(ValueError, match="canonical"):
        encrypt_stream(KEY, {"x": 1.5}, [])  # type: ignore[dict-item]
    with pytest.raises(Refusal, match="1 MiB"):
        encrypt_stream(KEY, {"x": "y" * (1 << 20)}, [])


def test_a_source_that_breaks_leaves_no_whole_stream() -> None:
    def breaking() -> Iterator[bytes]:
        yield DATA[:CHUNK_BYTES]
        raise OSError("pipe broke")

    written = b""
    with pytest.raises(OSError, match="pipe broke"):
        for piece in encrypt_stream(KEY, FIELDS, breaking()):
            written += piece
    assert_unreadable(written, 0)


def test_encrypting_is_lazy() -> None:
    """A stream far larger than memory goes through: never more than a chunk and a piece is held."""

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(10_000)

    pieces = encrypt_stream(KEY, FIELDS, endless())
    plain = decrypt_stream(KEY, Reader(pieces))
    assert all(len(next(plain)) == CHUNK_BYTES for _ in range(50))


def test_golden_vectors_open_for_ever() -> None:
    vectors = json.loads(VECTORS.read_text())
    assert len(vectors) >= 3
    for vector in vectors:
        key, blob = bytes.fromhex(vector["key"]), base64.b64decode(vector["stream"])
        plaintext = pattern(vector["plaintext_bytes"])
        assert hashlib.sha256(plaintext).hexdigest() == vector["plaintext_sha256"]
        assert read_header(io.BytesIO(blob)).fields == vector["fields"]
        assert decrypted(blob, key) == plaintext
        assert rebuilt(key, blob, plaintext) == blob


def pattern(size: int) -> bytes:
    """The plaintext of the golden vectors: byte i is i * i mod 251."""
    return bytes(i * i % 251 for i in range(size))


def derive(key: bytes, raw: bytes) -> bytes:
    """The key schedule as docs/formats/stream.md has it, on another implementation of HMAC."""
    prk = hmac.digest(b"keystead stream v1", key, hashlib.sha512)
    return hmac.digest(prk, raw + b"\x01", hashlib.sha512)


def rebuilt(key: bytes, blob: bytes, plaintext: bytes) -> bytes:
    """The stream made again from its header and salt by the letter of the format."""
    raw = blob[: 10 + int.from_bytes(blob[6:10], "big") + 32]
    okm = derive(key, raw)
    cipher: Callable[[bytes, bytes, None], bytes] = AESGCM(okm[:32]).encrypt
    pieces = [plaintext[at : at + 65536] for at in range(0, len(plaintext), 65536)] or [b""]
    out = raw + okm[32:]
    for index, piece in enumerate(pieces):
        out += cipher(index.to_bytes(11, "big") + bytes([index == len(pieces) - 1]), piece, None)
    return out
