"""A recipient opens what was sealed to it, and nobody else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.core.errors import Unreadable
from keystead.core.secret import Secret
from keystead.crypto import recipient

PRIVATE = recipient.generate()
PUBLIC = recipient.public_of(PRIVATE)
BLOB = recipient.seal(PUBLIC, b"k" * 32, b"context")


def test_round_trip() -> None:
    assert recipient.open(PRIVATE, BLOB, b"context") == b"k" * 32
    assert (len(PRIVATE), len(PUBLIC), len(BLOB)) == (recipient.PRIVATE_BYTES, recipient.PUBLIC_BYTES, 1120 + 32 + 16)
    assert recipient.seal(PUBLIC, b"k" * 32, b"context") != BLOB


def test_both_halves_are_needed() -> None:
    stranger = recipient.generate().reveal()
    mine = PRIVATE.reveal()
    for mixed in (stranger, mine[:64] + stranger[64:], stranger[:64] + mine[64:]):
        with pytest.raises(Unreadable):
            recipient.open(Secret(mixed), BLOB, b"context")


@given(st.data())
def test_what_was_changed_does_not_open(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(BLOB) * 8 - 1))
    flipped = bytearray(BLOB)
    flipped[at // 8] ^= 1 << at % 8
    for damaged in (bytes(flipped), BLOB[: at // 8], BLOB + b"x"):
        with pytest.raises(Unreadable):
            recipient.open(PRIVATE, damaged, b"context")


def test_another_context_does_not_open() -> None:
    with pytest.raises(Unreadable):
        recipient.open(PRIVATE, BLOB, b"another")


def test_no_key_at_all() -> None:
    for public in (b"", PUBLIC[:-1], b"\xff" * recipient.PUBLIC_BYTES):
        with pytest.raises(ValueError, match=r"bytes|public|key"):
            recipient.check_public(public)
    for private in (Secret(b""), Secret(bytes(95))):
        with pytest.raises(ValueError, match="96 bytes"):
            recipient.open(private, BLOB, b"context")
