"""Filters of SCIM: read as they are written, whoever writes them, and asked of anything."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.scim import RESOURCE, written

from keystead.core.errors import Refusal
from keystead.iam.federation.scim_filter import Both, Compare, Filter, Not, Within, matches, parse

pytestmark = pytest.mark.slow

NAMES = st.sampled_from(
    ["username", "active", "age", "emails", "value", "type", "name", "familyname", "not", "and", "pr"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(10**6), 10**6).map(lambda n: n / 100)
VALUES: st.SearchStrategy[Any] = TEXTS | NUMBERS | st.booleans() | st.none()
OPERATORS: st.SearchStrategy[Any] = st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"])
LEAVES: st.SearchStrategy[Filter] = st.builds(Compare, PATHS, OPERATORS, VALUES) | st.builds(
    Compare, PATHS, st.just("pr")
)
FILTERS: st.SearchStrategy[Filter] = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Both, st.sampled_from(["and", "or"]), inner, inner)
        | st.builds(Not, inner)
        | st.builds(Within, PATHS, inner)
    ),
    max_leaves=8,
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
RESOURCES = st.just(RESOURCE) | st.dictionaries(NAMES, ANYTHING, max_size=4)
SPELLINGS = st.sampled_from([str, str.upper, str.title])


@settings(max_examples=300, deadline=None)
@given(FILTERS, SPELLINGS, st.sampled_from([" ", "  ", "\t", "\n "]))
def test_what_is_written_is_read_as_it_was(wanted: Filter, spell: Any, space: str) -> None:
    """In any case and with any white space: a name is one in any case, a value keeps its own."""
    assert parse(written(wanted, spell, space)) == wanted


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from('() []"\\.:-09ae eqpr and or not u00 true null é\x00\n'), max_size=60)
    | st.text(max_size=60)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except Refusal as refusal:
        assert refusal.code == "InvalidFilter"
        return
    assert parse(written(found)) == found
    matches(found, RESOURCE)


@settings(max_examples=300, deadline=None)
@given(FILTERS, FILTERS, RESOURCES)
def test_and_or_and_not_are_what_they_are(one: Filter, other: Filter, resource: dict[str, Any]) -> None:
    left, right = matches(one, resource), matches(other, resource)
    assert matches(Both("and", one, other), resource) == (left and right)
    assert matches(Both("or", one, other), resource) == (left or right)
    assert matches(Not(one), resource) == (not left)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, OPERATORS)
def test_texts_are_compared_without_regard_to_case(held: str, asked: str, operator: Any) -> None:
    left, right = held.casefold(), asked.casefold()
    wanted = {
        "eq": left == right, "ne": left != right, "co": right in left, "sw": left.startswith(right),
        "ew": left.endswith(right), "gt": left > right, "ge": left >= right, "lt": left < right, "le": left <= right,
    }[operator] if held else operator == "ne"  # fmt: skip
    assert matches(Compare(("a",), operator, asked), {"A": held}) == wanted
    assert matches(parse(f"A {operator} {json.dumps(asked)}"), {"a": held}) == wanted


@pytest.mark.parametrize(
    ("text", "meets"),
    [
        ('userName eq "ADA@corp.example"', True),
        ('urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ada"', True),
        ('emails[type eq "work" and value co "@corp"]', True),
        ('emails[type eq "home" and value co "@corp"]', False),
        ('emails.type eq "home" and emails.value co "@corp"', True),
        ("active eq true", True),
        ('active eq "true"', False),
        ("age gt 35.5 and age le 36", True),
        ('age eq "36"', False),
        ("title pr or name.givenName pr", False),
        ("name.givenName eq null", True),
        ('nothing ne "x"', True),
        ("not (nothing pr)", True),
        ('active eq true or active eq false and userName eq "x"', True),
        ('(active eq true or active eq false) and userName eq "x"', False),
    ],
)
def test_filters_as_clients_send_them(text: str, meets: bool) -> None:
    assert matches(parse(text), RESOURCE) is meets


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a", "a eq", 'a "x"', 'a is "x"', "a eq x", "a eq 1x", "a eq 'x'", 'a eq "x', 'a eq "\\q"',
        "a pr b pr", "(a pr", "a pr)", "a[b pr", "a b[c pr]", "not a pr", "and", "a..b pr", ".a pr", "a. pr",
        'a eq "\\ud800"',
        "a pr and", "or a pr", "urn: pr", "(" * 50 + "a pr" + ")" * 50, "not (" * 50 + "a pr" + ")" * 50, "a" * 5000,
        "é pr", "a eq 1e5", "a eq --1", 'a eq "\n"',
    ],
)  # fmt: skip
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse(text)
    assert caught.value.code == "InvalidFilter"
