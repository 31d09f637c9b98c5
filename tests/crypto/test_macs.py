"""MACs: golden values, for ever; and what they depend on."""

import hashlib
import hmac

import pytest

from keystead.core.errors import Refusal
from keystead.crypto.macs import MacKey

GOLDEN = {
    "SHA256": "260aa6a544382cd2e9713ccd3f0a0df52c131e14405f01e23fc1630ea98e6181",
    "SHA512": "afbaf1191d02910e7fbb9b1c339b9c373681bceac4fb8fd6f5f2a0b8c21884d7"
    "519b699afd1d9623e432abbdafa2cfa6ac6af874fbed677694b14bc869ed5ccc",
    "SHA3-256": "01d870d500312b36304246c2a39323b2bd46d5032d712f5fa71c2ecff24b6c03",
}


@pytest.mark.parametrize("hashed", GOLDEN)
def test_golden(hashed: str) -> None:
    assert MacKey(bytes(range(32)), hashed).mac(b"words").hex() == GOLDEN[hashed]  # type: ignore[arg-type]


def test_it_is_hmac_with_a_key_of_hkdf() -> None:
    """Made again by other code: HKDF (RFC 5869) and HMAC of the standard library."""
    material = bytes(range(16))
    extracted = hmac.digest(b"keystead mac v1", material, "sha512")
    key = hmac.digest(extracted, b"SHA384" + b"\x01", "sha512")
    assert MacKey(material, "SHA384").mac(b"words") == hmac.digest(key, b"words", hashlib.sha384)


def test_it_matches_its_own_message_material_and_hash_alone() -> None:
    key = MacKey(bytes(32), "SHA256")
    code = key.mac(b"words")
    assert key.matches(b"words", code)
    assert not key.matches(b"word", code) and not key.matches(b"words", code[:-1]) and not key.matches(b"words", b"")
    assert not MacKey(bytes(31) + b"\x01", "SHA256").matches(b"words", code)
    assert not MacKey(bytes(32), "SHA3-256").matches(b"words", code)


def test_what_is_refused() -> None:
    with pytest.raises(Refusal, match="not made by 'MD5'"):
        MacKey(bytes(32), "MD5")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="16 bytes"):
        MacKey(bytes(15), "SHA256")
