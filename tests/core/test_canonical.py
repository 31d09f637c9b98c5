"""The one encoding: one spelling of every value, and nothing without one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keystead.core.canonical import encode

SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner),
    max_leaves=20,
)


@given(VALUES)
def test_it_reads_back_and_encodes_the_same_again(value: object) -> None:
    encoded = encode(value)  # type: ignore[arg-type]
    assert json.loads(encoded) == value
    assert encode(json.loads(encoded)) == encoded


@given(st.dictionaries(st.text(st.characters(max_codepoint=127)), st.integers(0, 9), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert encode(value) == encode(dict(reversed(value.items())))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"b": 1, "a": [True, None, "x"]}, b'{"a":[true,null,"x"],"b":1}'),
        ("ä\n\u2028\x00", '"ä\\n\u2028\\u0000"'.encode()),
        ((1, 2), b"[1,2]"),
        ({}, b"{}"),
        (-0, b"0"),
        (2**53 - 1, b"9007199254740991"),
    ],
)
def test_vectors(value: object, encoded: bytes) -> None:
    """RFC 8785's rules, for what we allow."""
    assert encode(value) == encoded  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), 2**53, -(2**53), b"x", {1: "x"}, {"ä": 1}, [{"a": {1}}], object()]
)
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"canonical|53 bits|ASCII"):
        encode(value)  # type: ignore[arg-type]


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        encode("\ud800")
