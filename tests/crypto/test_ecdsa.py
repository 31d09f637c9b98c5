"""ECDSA's two spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.crypto.asymmetric import PrivateKey, generate
from keystead.crypto.ecdsa import to_der, to_raw
from keystead.crypto.suites import suite_of

RAW = st.sampled_from([(256, 32), (384, 48), (521, 66)]).flatmap(
    lambda curve: st.tuples(st.just(curve[0]), st.binary(min_size=2 * curve[1], max_size=2 * curve[1]))
)


@given(RAW)
def test_there_and_back(given: tuple[int, bytes]) -> None:
    bits, raw = given
    assert to_raw(to_der(raw, bits), bits) == raw


@pytest.mark.parametrize("name", ["EC-P256", "EC-P384", "EC-P521"])
def test_a_real_signature_holds_in_both(name: str) -> None:
    suite = suite_of(name)
    key = PrivateKey(suite, generate(suite))
    raw = to_raw(key.sign(b"words"), suite.bits)
    assert len(raw) == 2 * ((suite.bits + 7) // 8)
    assert key.verify(b"words", to_der(raw, suite.bits))


def test_what_cannot_be_one() -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        to_der(bytes(63), 256)
    with pytest.raises(ValueError, match="larger curve"):
        to_raw(to_der(b"\xff" * 96, 384), 256)
    for junk in (b"", b"junk", bytes(70)):
        with pytest.raises(ValueError, match=r"."):
            to_raw(junk, 256)
