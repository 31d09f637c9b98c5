"""The envelope opens for what it was made for, and for nothing else."""

import contextlib
import copy
import hashlib
import hmac
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from keystead.core.errors import Refusal, Unreadable
from keystead.crypto.envelope import MAX_PLAINTEXT_BYTES, Binding, Header, Kek, peek

VECTORS = Path(__file__).parent.parent / "vectors" / "envelope-v1.json"
BINDING = Binding("data-key", "tenancy-a", "home", "system-1", "key-1", b"more")
KEK = Kek(bytes(range(32)), "key-1", 3)
BLOB = KEK.seal(b"\x07" * 32, BINDING)

texts = st.text(st.characters(codec="utf-8"), max_size=40)
bindings = st.builds(Binding, texts, texts, texts, texts, texts, st.binary(max_size=100))


def assert_unreadable(kek: Kek, blob: bytes, binding: Binding) -> None:
    with pytest.raises(Unreadable) as caught:
        kek.open(blob, binding)
    same = Unreadable()
    assert (str(caught.value), caught.value.code, caught.value.hint) == (str(same), same.code, same.hint)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "the cause would tell"


@given(st.binary(max_size=300), bindings, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))
def test_what_was_sealed_opens(plaintext: bytes, binding: Binding, material: bytes, version: int) -> None:
    blob = Kek(material, "kéy", version).seal(plaintext, binding)
    assert Kek(material, "kéy", version).open(blob, binding) == plaintext
    assert peek(blob) == Header("kéy", version, 1)
    assert len(blob) == 7 + 4 + 4 + 32 + 32 + len(plaintext) + 16


def test_every_flipped_bit_fails() -> None:
    for bit in range(len(BLOB) * 8):
        flipped = bytearray(BLOB)
        flipped[bit // 8] ^= 1 << bit % 8
        assert_unreadable(KEK, bytes(flipped), BINDING)


def test_every_truncation_and_extension_fails() -> None:
    for length in range(len(BLOB)):
        assert_unreadable(KEK, BLOB[:length], BINDING)
    for more in (b"\x00", BLOB, BLOB[-16:]):
        assert_unreadable(KEK, BLOB + more, BINDING)
        assert_unreadable(KEK, more + BLOB, BINDING)


@given(bindings, bindings)
def test_another_binding_fails(mine: Binding, other: Binding) -> None:
    blob = KEK.seal(b"data", mine)
    if mine == other:
        assert KEK.open(blob, other) == b"data"
    else:
        assert_unreadable(KEK, blob, other)


@pytest.mark.parametrize("field", ["purpose", "tenancy", "region", "resource", "parent"])
def test_each_field_is_bound(field: str) -> None:
    assert_unreadable(KEK, BLOB, replace(BINDING, **{field: getattr(BINDING, field) + "x"}))
    assert_unreadable(KEK, BLOB, replace(BINDING, **{field: ""}))


def test_fields_do_not_run_into_each_other() -> None:
    blob = KEK.seal(b"data", Binding("ab", "c", "", "", "", b""))
    for other in (Binding("a", "bc", "", "", ""), Binding("abc", "", "", "", ""), Binding("ab", "", "c", "", "")):
        assert_unreadable(KEK, blob, other)
    assert_unreadable(KEK, KEK.seal(b"", Binding("", "", "", "", "p")), Binding("", "", "", "", "", b"p"))


def test_another_key_id_version_or_material_fails() -> None:
    material = bytes(range(32))
    for kek in (Kek(material, "key-1", 4), Kek(material, "key-2", 3), Kek(bytes(32), "key-1", 3)):
        assert_unreadable(kek, BLOB, BINDING)
        # ... also when the header is rewritten to name the key that tries
        renamed = kek.seal(b"", BINDING)[:16] + BLOB[16:]
        assert_unreadable(kek, renamed, BINDING)


def test_swapped_parts_fail() -> None:
    other = KEK.seal(b"\x07" * 32, BINDING)
    salt, commitment, text = slice(16, 48), slice(48, 80), slice(80, None)
    for part in (salt, commitment, text):
        mixed = bytearray(BLOB)
        mixed[part] = other[part]
        assert_unreadable(KEK, bytes(mixed), BINDING)


@given(st.binary(max_size=300))
def test_foreign_bytes_fail(blob: bytes) -> None:
    assert_unreadable(KEK, blob, BINDING)
    assert_unreadable(KEK, BLOB[:16] + blob, BINDING)
    with pytest.raises(Unreadable):
        peek(blob)


@given(st.integers(0, len(BLOB)), st.binary(max_size=20))
def test_peek_never_fails_otherwise(at: int, put: bytes) -> None:
    with contextlib.suppress(Unreadable):
        peek(BLOB[:at] + put + BLOB[at + len(put) :])


def test_commitment_is_checked_although_the_tag_would_hold() -> None:
    """A ciphertext that is valid under the derived key, with another commitment, is refused."""
    header, encoded = BLOB[:48], BINDING.encoded
    key = derive(bytes(range(32)), header, encoded)[:32]
    false = header + bytes(32)
    assert_unreadable(KEK, false + AESGCM(key).encrypt(bytes(12), b"data", false + encoded), BINDING)


def test_no_two_blobs_share_a_salt() -> None:
    assert len({KEK.seal(b"", BINDING)[16:48] for _ in range(500)}) == 500


def test_limits() -> None:
    with pytest.raises(Refusal, match="1 MiB"):
        KEK.seal(bytes(MAX_PLAINTEXT_BYTES + 1), BINDING)
    with pytest.raises(Refusal, match="1 MiB"):
        replace(BINDING, associated_data=bytes(MAX_PLAINTEXT_BYTES + 1))
    assert KEK.open(KEK.seal(bytes(MAX_PLAINTEXT_BYTES), BINDING), BINDING) == bytes(MAX_PLAINTEXT_BYTES)
    with pytest.raises(ValueError, match="65,535"):
        replace(BINDING, parent="x" * 65536)
    for material, key_id, version in (
        (bytes(31), "k", 1),
        (bytes(32), "", 1),
        (bytes(32), "k" * 256, 1),
        (bytes(32), "k", -1),
        (bytes(32), "k", 2**32),
    ):
        with pytest.raises(ValueError, match="has"):
            Kek(material, key_id, version)


def test_a_kek_keeps_to_itself() -> None:
    assert repr(KEK) == "Kek('key-1', version=3)"
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            act(KEK)


def test_golden_vectors_open_for_ever() -> None:
    vectors = json.loads(VECTORS.read_text())
    assert len(vectors) >= 4
    for vector in vectors:
        fields = dict(vector["binding"])
        fields["associated_data"] = bytes.fromhex(fields["associated_data"])
        binding = Binding(**fields)
        kek = Kek(bytes.fromhex(vector["material"]), vector["key_id"], vector["key_version"])
        blob, plaintext = bytes.fromhex(vector["blob"]), bytes.fromhex(vector["plaintext"])
        assert binding.encoded.hex() == vector["binding_bytes"]
        assert kek.open(blob, binding) == plaintext
        assert peek(blob) == Header(vector["key_id"], vector["key_version"], 1)
        assert rebuilt(bytes.fromhex(vector["material"]), blob, binding.encoded, plaintext) == blob


def derive(material: bytes, header: bytes, encoded: bytes) -> bytes:
    """The key schedule as docs/formats/envelope.md has it, on another implementation of HMAC."""
    prk = hmac.digest(b"keystead envelope v1", material, hashlib.sha512)
    return hmac.digest(prk, header + encoded + b"\x01", hashlib.sha512)


def rebuilt(material: bytes, blob: bytes, encoded: bytes, plaintext: bytes) -> bytes:
    """The blob made again from its header and salt by the letter of the format."""
    header = blob[: 7 + blob[6] + 4 + 32]
    okm = derive(material, header, encoded)
    head = header + okm[32:]
    return head + AESGCM(okm[:32]).encrypt(bytes(12), plaintext, head + encoded)
