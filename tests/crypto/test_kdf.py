"""Subkeys: deterministic, separate, and equal to the standard's own construction."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from keystead.crypto import kdf

ROOT = bytes(range(32))
GOLDEN = {
    "subkey": "07b29b297b13aa005bb9827c9a57ca2996ee3fb2c743a6c6d9e5b514cf97413a",
    "subkey_context": "3b487bcde240305e19bd878b774c84a866239f1f8bcbeb3adcd099a7b2f76c64",
    "passphrase": "e15af210a580fe9626c72a833abf8cf6cd89e4112545c8c61acc06c56f0fb71f",
    "mac": "69d4a21e226bf0d348cb9a847c01cf24e93e8ac30d7c951704b936f82f795a62"
    "4b470e23abd33ac8700e797f0f2a499b932bac7d283bbbb37d8fecf70d5e08a7",
}


def test_known_answers() -> None:
    assert kdf.subkey(ROOT, "vault-store").hex() == GOLDEN["subkey"]
    assert kdf.subkey(ROOT, "vault-store", b"home").hex() == GOLDEN["subkey_context"]
    assert kdf.passphrase_key(b"correct horse", bytes(16), kdf.Cost(8192, 1, 1)).hex() == GOLDEN["passphrase"]
    assert kdf.mac(ROOT, b"abc").hex() == GOLDEN["mac"]


def test_subkey_is_hkdf_sha512() -> None:
    info = b"\x00\x01p" + b"context"
    assert kdf.subkey(ROOT, "p", b"context") == HKDF(hashes.SHA512(), 32, b"keystead subkey v1", info).derive(ROOT)


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(names, st.binary(max_size=20), names, st.binary(max_size=20))
def test_no_two_purposes_or_contexts_share_a_key(a: str, ca: bytes, b: str, cb: bytes) -> None:
    assert (kdf.subkey(ROOT, a, ca) == kdf.subkey(ROOT, b, cb)) == ((a, ca) == (b, cb))


def test_bounds() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        kdf.subkey(bytes(31), "p")
    with pytest.raises(ValueError, match="purpose"):
        kdf.subkey(ROOT, "")
    with pytest.raises(ValueError, match="salt"):
        kdf.passphrase_key(b"x", bytes(15), kdf.Cost(8192, 1, 1))
    for cost in ((1024, 1, 1), (3 << 20, 1, 1), (8192, 0, 1), (8192, 17, 1), (8192, 1, 0), (8192, 1, 17)):
        with pytest.raises(ValueError, match="out of bounds"):
            kdf.Cost(*cost)


def test_mac_matches() -> None:
    code = kdf.mac(ROOT, b"data")
    assert len(code) == kdf.MAC_BYTES
    assert kdf.mac_matches(ROOT, b"data", code)
    assert not kdf.mac_matches(ROOT, b"datA", code)
    assert not kdf.mac_matches(ROOT, b"data", code[:-1])
    assert not kdf.mac_matches(bytes(32), b"data", code)
