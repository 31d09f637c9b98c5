"""The region's certificate authority comes back from its sealed form, and only whole."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from keystead.core.errors import Refusal, Unavailable, Unreadable
from keystead.seal import authority, service
from keystead.seal.openers import KeyFile

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_, ROOT = service.create("home", [KeyFile.generate()], NOW)
SEALED, AUTHORITY = authority.create(ROOT, NOW)


def test_it_comes_back() -> None:
    again = authority.open(ROOT, SEALED)
    assert again.pem == AUTHORITY.pem == SEALED.pem
    assert again.reveal_key() == AUTHORITY.reveal_key()
    assert again.issue("x", ["localhost"], NOW).pem.startswith(b"-----BEGIN CERTIFICATE")
    assert b"PRIVATE" not in SEALED.pem + SEALED.wrapped_key


def test_certificate_and_key_belong_together_and_to_the_root() -> None:
    other, _ = authority.create(ROOT, NOW)
    _, stranger = service.create("home", [KeyFile.generate()], NOW)
    moved = service.RootKey(ROOT._reveal(), "away")
    for root, sealed in (
        (ROOT, replace(SEALED, wrapped_key=other.wrapped_key)),
        (ROOT, replace(SEALED, pem=other.pem)),
        (ROOT, replace(SEALED, wrapped_key=b"")),
        (stranger, SEALED),
        (moved, SEALED),
    ):
        with pytest.raises(Unreadable):
            authority.open(root, sealed)
    with pytest.raises(Refusal, match="PEM"):
        authority.open(ROOT, replace(SEALED, pem=b"x"))


def test_sealed_is_sealed() -> None:
    root = service.RootKey(ROOT._reveal(), "home")
    root.wipe()
    with pytest.raises(Unavailable, match="sealed"):
        authority.open(root, SEALED)
