"""Statements are read as their users write them, printed back, and refused with the place and the word meant."""

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.iam.random_policies import any_statement

from keystead.core.errors import Refusal
from keystead.iam.policy.model import (
    KEYWORDS,
    Associate,
    Compartment,
    Equal,
    HomeTenancy,
    Name,
    Pattern,
    Rule,
    Statement,
    Subject,
    Text,
    VerbOn,
    text,
)
from keystead.iam.policy.parse import MAX_DEPTH, MAX_LENGTH, StatementError, parse

VECTORS = Path(__file__).parent.parent / "vectors" / "policy-statements.txt"
STATEMENTS = [line for line in VECTORS.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("line", STATEMENTS)
def test_statements_of_oci_are_taken_and_printed_back(line: str) -> None:
    written, _, canonical = line.partition(" -> ")
    tree = parse(written)
    assert text(tree) == (canonical or written)
    assert parse(text(tree)) == tree


@given(any_statement())
@settings(max_examples=150)
def test_every_tree_printed_is_read_back_equal(tree: Statement) -> None:
    assert parse(text(tree)) == tree


@pytest.mark.slow
@given(any_statement())
@pytest.mark.timeout(600)
@settings(max_examples=2000)
def test_every_tree_printed_is_read_back_equal_at_length(tree: Statement) -> None:
    assert parse(text(tree)) == tree


@given(any_statement(), st.randoms())
def test_case_of_keywords_and_white_space_do_not_matter(tree: Statement, source) -> None:
    assume("/" not in text(tree))  # a pattern may hold a quote of its own, by which the text cannot be cut
    pieces = []
    for index, piece in enumerate(text(tree).split("'")):
        if index % 2 == 0:  # outside quotes
            words = piece.split(" ")
            piece = source.choice([" ", "\n", "\t  ", " \r\n "]).join(
                source.choice([str.upper, str.lower, str.title])(word) if word.lower() in KEYWORDS else word
                for word in words
            )
        pieces.append(piece)
    assert parse("  " + "'".join(pieces) + "\n") == tree


def test_the_tree_says_what_was_written() -> None:
    assert parse("allow GROUP x/'My Group' to USE Keys in COMPARTMENT a:b where TARGET.Key.Id = 'It''s'") == Rule(
        "allow",
        False,
        Subject("group", (Name("My Group", "x"),)),
        VerbOn("use", "keys"),
        Compartment(("a", "b")),
        Equal("target.key.id", Text("It's")),
    )
    associate = parse("Allow any-user to associate keys in tenancy with volumes in compartment D")
    assert isinstance(associate, Rule)
    assert associate.action == Associate("keys", HomeTenancy(), "volumes", Compartment(("D",)))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/x*/", Pattern("prefix", "x")),
        ("/*x/", Pattern("suffix", "x")),
        ("/*x*/", Pattern("contains", "x")),
        ("/x/", Pattern("exact", "x")),
        ("/*/", Pattern("prefix", "")),
        (r"/a\/b\**/", Pattern("prefix", "a/b*")),
    ],
)
def test_patterns(written: str, meant: Pattern) -> None:
    tree = parse(f"Allow any-user to use keys in tenancy where target.key.id = {written}")
    assert isinstance(tree, Rule) and isinstance(tree.condition, Equal) and tree.condition.value == meant


def test_a_keyword_may_be_a_name() -> None:
    tree = parse("Allow group to, 'id' to use keys in compartment where where target.key.id = 'in'")
    assert isinstance(tree, Rule)
    assert tree.subject.who == (Name("to"), Name("id")) and tree.place == Compartment(("where",))


ALLOW = "Allow group A to use keys in tenancy where "


@pytest.mark.parametrize(
    ("written", "at", "says", "meant"),
    [
        ("Alow group A to use keys in tenancy", (1, 1), 'expected "admit", "allow"', "allow"),
        ("Allow grup A to use keys in tenancy", (1, 7), 'not "grup"', "group"),
        ("Allow group A too use keys in tenancy", (1, 15), 'expected "to", not "too"', "to"),
        ("Allow group A use keys in tenancy", (1, 15), 'expected "to", not "use"', None),
        ("Allow group A to mange keys in tenancy", (1, 18), '"mange" is not a verb', "manage"),
        ("Allow group A to manage key in tenancy", (1, 25), '"key" is not a resource type', "keys"),
        ("Allow group A to manage mysql-instance in tenancy", (1, 25), "not a resource type", "mysql-instances"),
        ("Allow group A to {KEY_READ,\n KEY_REED} in tenancy", (2, 2), '"KEY_REED" is not a permission', "KEY_READ"),
        ("Allow group A to {HOST_WATCH} in tenancy", (1, 19), "not a permission that a policy grants", None),
        ("Allow group A to use keys in compartmnt B", (1, 30), 'expected "compartment" or "tenancy"', "compartment"),
        ("Allow group A to use keys in compartment B wher x", (1, 44), 'expected "where"', "where"),
        ("Allow group A to use keys in tenancy B", (1, 38), 'expected "where" or the end', None),
        ("Allow group A to use keys in any-tenancy", (1, 30), 'not "any-tenancy"', "tenancy"),
        ("Allow group '' to use keys in tenancy", (1, 13), "a name cannot be empty", None),
        ("Allow group 'A to use keys in tenancy", (1, 13), "this quote is not closed", None),
        ("Allow group A", (1, 14), 'the statement is not complete: expected "to"', None),
        ("", (1, 1), "the statement is not complete", None),
        (ALLOW + "target.keys.id = 'x'", (1, 44), '"target.keys.id" is not a variable', "target.key.id"),
        (ALLOW + "key.id = 'x'", (1, 44), '"key.id" is not a variable', "target.key.id"),
        (ALLOW + "request.utc-timestmp before '1'", (1, 44), "is not a variable", "request.utc-timestamp"),
        (ALLOW + "target.key.id = x", (1, 60), '"x" is not a variable', None),
        (ALLOW + "target.key.id == 'x'", (1, 59), "expected", None),
        (ALLOW + "target.key.id = ‘x’", (1, 60), "not a quote", "'"),
        (ALLOW + "target.key.id = /a*b/", (1, 60), "a pattern has its star", None),
        (ALLOW + "all {target.key.id = 'x'", (1, 68), 'not complete: expected "}"', None),
        (ALLOW + "al {target.key.id = 'x'}", (1, 44), '"al" is not a variable', "all"),
        (ALLOW + "request.utc-timestamp before 'monday'", (1, 73), "neither a moment", None),
        (ALLOW + "request.utc-timestamp before '2026-01-01T00:00:00'", (1, 73), "neither a moment", None),
        (ALLOW + "request.utc-timestamp before '09:00:00+02:00'", (1, 73), "a time of day", None),
        (ALLOW + "request.utc-timestamp between '1' and '09:00:00Z'", (1, 82), "not of one kind", None),
        (
            ALLOW + "request.utc-timestamp between '2026-02-01T00:00:00Z' and '2026-01-01T00:00:00Z'",
            (1, 101),
            "ends before it begins",
            None,
        ),
        ("Define tenancy A as", (1, 20), "not complete: expected an id", None),
        ("Admit group A to use keys in tenancy", (1, 15), 'expected "of"', None),
    ],
)
def test_errors_point_at_the_character_and_suggest_the_word(
    written: str, at: tuple[int, int], says: str, meant: str | None
) -> None:
    with pytest.raises(StatementError) as caught:
        parse(written)
    error = caught.value
    assert (error.line, error.column) == at, error.message
    assert says in error.message and error.message.startswith(f"line {at[0]}, column {at[1]}: ")
    assert error.code == "InvalidStatement" and error.kind == "bad_request"
    if meant is None:
        assert "did you mean" not in error.hint
    else:
        assert meant in error.hint.splitlines()[0] and "did you mean" in error.hint
    shown, caret = error.marked.split("\n")
    assert shown == (written.split("\n")[at[0] - 1] if written else "")
    assert caret.index("^") == at[1] - 1
    assert error.hint.endswith(error.marked)


@given(
    st.text(
        st.sampled_from("allow group any-user{}'/()=!,:*\\ \nto use keys in tenancy where target.key.id"), max_size=80
    )
)
def test_whatever_is_typed_is_read_or_refused(written: str) -> None:
    try:
        parse(written)
    except Refusal as refusal:
        assert refusal.code == "InvalidStatement"


@given(any_statement().map(text), st.integers(0, 400), st.sampled_from(["", "'", "}", "x", "/", "\x00", "é", "("]))
@settings(max_examples=150)
def test_a_damaged_statement_is_read_or_refused(written: str, at: int, put: str) -> None:
    at %= len(written)
    try:
        parse(written[:at] + put + written[at + 1 :])
    except Refusal as refusal:
        assert refusal.code == "InvalidStatement"


def test_bounds() -> None:
    with pytest.raises(Refusal, match="at most"):
        parse(ALLOW + "target.key.id = '" + "x" * MAX_LENGTH + "'")
    deepest = ALLOW + "all {" * MAX_DEPTH + "target.key.id = 'x'" + "}" * MAX_DEPTH
    assert parse(text(parse(deepest))) == parse(deepest)
    with pytest.raises(Refusal, match="nest at most"):
        parse(ALLOW + "all {" * (MAX_DEPTH + 1) + "target.key.id = 'x'" + "}" * (MAX_DEPTH + 1))
    with pytest.raises(Refusal):
        parse(ALLOW + "all {" * 1200 + "target.key.id = 'x'" + "}" * 1200)
