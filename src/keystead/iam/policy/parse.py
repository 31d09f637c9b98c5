"""From text to statements, with errors that point at the character and suggest the word meant.

`parse` is pure and remembers what it has parsed: trees are immutable and policies are compiled anew at each change.
Bounds: MAX_LENGTH characters, MAX_DEPTH levels of all/any, so that no input costs more than a few milliseconds.
"""

import difflib
import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Literal, cast

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from keystead.core.errors import Refusal
from keystead.iam.actions import ALIASES, GRANTABLE, SERVICE_ONLY, TYPE_WORDS, VERBS, Verb
from keystead.iam.policy.model import (
    Action,
    Among,
    AnyTenancy,
    Associate,
    Beside,
    Between,
    ById,
    Compartment,
    Condition,
    DefinedKind,
    Definition,
    Effect,
    Equal,
    Group,
    HomeTenancy,
    Name,
    OtherTenancy,
    Pattern,
    PatternKind,
    Permissions,
    Place,
    Rule,
    Statement,
    Subject,
    Text,
    Value,
    Variable,
    VerbOn,
)
from keystead.iam.policy.moments import scale
from keystead.iam.policy.variables import doubt, doubt_of_resource

Start = Literal["start", "matching"]
MAX_LENGTH = 8_000
MAX_DEPTH = 8

_WORD = re.compile(r"[\w.@+-]+|\S")
_LAST_WORD = re.compile(r"([\w.-]+)\s*\Z")
_DOUBTS: dict[Start, Callable[[str], tuple[str, ...] | None]] = {"start": doubt, "matching": doubt_of_resource}
# How the terminals of the grammar are called in errors; keywords stand for themselves.
_CALLED = {
    "VERB": f"a verb ({', '.join(VERBS)})",
    "TYPE": "a resource type",
    "PERMISSION": "a permission",
    "VARIABLE": "a variable",
    "NAME": "a name",
    "IDENT": "an id",
    "QUOTED": "a text in quotes",
    "PATTERN": "a pattern",
    "COMMA": '","',
    "COLON": '":"',
    "SLASH": '"/"',
    "LBRACE": '"{"',
    "RBRACE": '"}"',
    "LPAR": '"("',
    "RPAR": '")"',
    "EQUAL": '"="',
    "_UNEQUAL": '"!="',
    "$END": "the end",
}
# Terminals whose LALR state also expects rarer things that would only clutter the sentence.
_CLUTTER = frozenset({"COMMA", "COLON", "SLASH", "_OF"})


class StatementError(Refusal):
    """A statement that cannot be read. `line` and `column` count from 1; `marked` is the line with a caret below."""

    def __init__(self, message: str, hint: str, line: int, column: int, marked: str) -> None:
        super().__init__("InvalidStatement", message, hint=hint)
        self.line = line
        self.column = column
        self.marked = marked

    def within(self, where: str) -> "StatementError":
        """The same, its message beginning with `where`."""
        return StatementError(where + self.message, self.hint, self.line, self.column, self.marked)


class _Mistake(Exception):
    """Found while reducing: what is wrong with the characters from `start` to `end`."""

    def __init__(self, token: Token, message: str, meant: str = "") -> None:
        super().__init__(message)
        self.start = token.start_pos or 0
        self.end = token.end_pos or self.start
        self.message = message
        self.meant = meant


@lru_cache(maxsize=50_000)
def parse(statement: str) -> Statement:
    """The tree of one statement.

    Raises:
        StatementError: with the place, and the word that may have been meant.
    """
    return cast(Statement, _read(statement, "start"))


@lru_cache(maxsize=10_000)
def parse_matching(rule: str) -> Condition:
    """The tree of a dynamic group's matching rule. Raises: StatementError."""
    return cast(Condition, _read(rule, "matching"))


def _read(text: str, start: Start) -> object:
    if len(text) > MAX_LENGTH:
        raise StatementError(f"a statement has at most {MAX_LENGTH} characters", "split it", 1, 1, "")
    try:
        return _parser(start).parse(text)
    except _Mistake as mistake:
        raise _error(text, mistake.start, mistake.end, mistake.message, mistake.meant) from None
    except UnexpectedInput as unexpected:
        raise _unexpected(text, unexpected, start) from None


@cache
def _parser(start: Start) -> Lark:
    return Lark.open_from_package(
        "keystead.iam.policy",
        "grammar.lark",
        start=start,
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=False,
        transformer=_Builder() if start == "start" else _MatchingBuilder(),
    )


def _error(statement: str, start: int, end: int, message: str, meant: str) -> StatementError:
    line_start = statement.rfind("\n", 0, start) + 1
    line_end = statement.find("\n", start)
    shown = statement[line_start : len(statement) if line_end < 0 else line_end].replace("\t", " ").rstrip("\r")
    line, column = statement.count("\n", 0, start) + 1, start - line_start + 1
    marked = f"{shown}\n{' ' * (column - 1)}{'^' * max(1, min(end - start, len(shown) - column + 1))}"
    hint = f"did you mean {meant}?\n{marked}" if meant else marked
    return StatementError(f"line {line}, column {column}: {message}", hint, line, column, marked)


def _unexpected(statement: str, unexpected: UnexpectedInput, start_symbol: Start) -> StatementError:
    expected = _expected(unexpected)
    start = cast(int | None, unexpected.pos_in_stream)
    at_end = isinstance(unexpected, UnexpectedToken) and unexpected.token.type == "$END"
    if at_end or start is None or not 0 <= start < len(statement):
        end = len(statement.rstrip())
        return _error(statement, end, end + 1, f"the statement is not complete: expected {_listed(expected)}", "")
    found = _WORD.match(statement, start)
    word = found[0] if found else statement[start]
    end = start + len(word)
    if word == "'" and "QUOTED" in expected:
        return _error(statement, start, end, "this quote is not closed on its line", "")
    if word in '‘’“”"`':
        return _error(statement, start, end, f"{word} is not a quote of this language", "'")
    if (
        "_BETWEEN" in expected
        and (before := _LAST_WORD.search(statement, 0, start))
        and _DOUBTS[start_symbol](before[1].lower()) is not None
    ):
        # What was taken for a variable is none: most likely a misspelt all or any.
        meant = _close(before[1].lower(), ("all", "any"))
        return _error(statement, before.start(1), before.end(1), f'"{before[1]}" is not a variable', meant)
    meant = _close(word.lower(), tuple(_keyword(name) for name in expected if name.startswith("_")))
    return _error(statement, start, end, f'expected {_listed(expected)}, not "{word}"', meant)


def _expected(unexpected: UnexpectedInput) -> frozenset[str]:
    match unexpected:
        case UnexpectedToken():
            return frozenset(unexpected.accepts or unexpected.expected)
        case UnexpectedCharacters():
            return frozenset(unexpected.allowed or ())
        case _:
            return frozenset()


def _listed(expected: frozenset[str]) -> str:
    shown = (expected - _CLUTTER) or expected
    words = sorted({_CALLED.get(name) or f'"{_keyword(name)}"' for name in shown})
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}" if words else "something else"


def _keyword(terminal: str) -> str:
    return terminal.strip("_").lower().replace("_", "-")


def _close(word: str, candidates: tuple[str, ...] | frozenset[str]) -> str:
    found = difflib.get_close_matches(word, sorted(candidates), n=1, cutoff=0.6)
    return f'"{found[0]}"' if found else ""


def _unquote(token: Token) -> str:
    return token[1:-1].replace("''", "'")


@v_args(inline=True)
class _Builder(Transformer[Token, Statement]):
    """Builds the tree bottom-up while parsing, and checks words against the catalogue."""

    # statements

    def allow(self, grant: Rule) -> Rule:
        return grant

    def deny_allow(self, grant: Rule) -> Rule:
        return _as(grant, "allow", denies=True)

    def endorse(self, grant: Rule) -> Rule:
        return _as(grant, "endorse")

    def deny_endorse(self, grant: Rule) -> Rule:
        return _as(grant, "endorse", denies=True)

    def admit(self, grant: Rule) -> Rule:
        return _as(grant, "admit")

    def deny_admit(self, grant: Rule) -> Rule:
        return _as(grant, "admit", denies=True)

    def define(self, kind: DefinedKind, name: Name, ident: Token) -> Definition:
        return Definition(kind, name, str(ident))

    def defined_tenancy(self) -> DefinedKind:
        return "tenancy"

    def defined_group(self) -> DefinedKind:
        return "group"

    def defined_dynamic_group(self) -> DefinedKind:
        return "dynamic-group"

    def defined_compartment(self) -> DefinedKind:
        return "compartment"

    def grant(self, subject: Subject, acts: tuple[Action, Place | None], where: Condition | None = None) -> Rule:
        return Rule("allow", False, subject, acts[0], acts[1], where)

    endorsement = grant

    def admission(
        self,
        subject: Subject,
        origin: OtherTenancy | AnyTenancy,
        acts: tuple[Action, Place | None],
        where: Condition | None = None,
    ) -> Rule:
        return Rule("admit", False, subject, acts[0], acts[1], where, origin)

    def where(self, condition: Condition) -> Condition:
        return condition

    # subjects

    def group(self, *who: Name | ById) -> Subject:
        return Subject("group", who)

    def dynamic_group(self, *who: Name | ById) -> Subject:
        return Subject("dynamic-group", who)

    def service(self, *who: Name) -> Subject:
        return Subject("service", who)

    def any_user(self) -> Subject:
        return Subject("any-user")

    def any_group(self) -> Subject:
        return Subject("any-group")

    def name(self, first: str, second: str | None = None) -> Name:
        return Name(first) if second is None else Name(second, first)

    def bare_word(self, token: Token) -> str:
        return str(token)

    def quoted_word(self, token: Token) -> str:
        if len(token) == 2:
            raise _Mistake(token, "a name cannot be empty")
        return _unquote(token)

    def by_id(self, token: Token) -> ById:
        return ById(str(token))

    # actions and places

    def home_action(self, action: Action, place: Place | None = None) -> tuple[Action, Place | None]:
        return action, place

    far_action = home_action

    def verb_action(self, verb: Token, type_: Token) -> VerbOn:
        if verb.lower() not in VERBS:
            raise _Mistake(verb, f'"{verb}" is not a verb: {", ".join(VERBS)}', _close(verb.lower(), VERBS))
        return VerbOn(cast(Verb, verb.lower()), _type(type_))

    def permissions(self, *tokens: Token) -> Permissions:
        for token in tokens:
            if token.upper() not in GRANTABLE:
                raise _Mistake(token, f'"{token}" is not a permission that a policy grants', _permission(token))
        return Permissions(tuple(token.upper() for token in tokens))

    def associate(self, type_: Token, place: Place, with_type: Token, with_place: Place) -> Associate:
        return Associate(_type(type_), place, _type(with_type), with_place)

    def home_tenancy(self) -> HomeTenancy:
        return HomeTenancy()

    def other_tenancy(self, name: Name) -> OtherTenancy:
        return OtherTenancy(name)

    def any_tenancy(self) -> AnyTenancy:
        return AnyTenancy()

    def compartment(self, at: tuple[str, ...] | ById) -> Compartment:
        return Compartment(at)

    def path(self, *words: str) -> tuple[str, ...]:
        return words

    # conditions

    def all_of(self, *parts: Condition) -> Group:
        return _grouped(Group("all", parts))

    def any_of(self, *parts: Condition) -> Group:
        return _grouped(Group("any", parts))

    def equal(self, variable: Token, value: Value) -> Equal:
        return Equal(self._named(variable), value)

    def unequal(self, variable: Token, value: Value) -> Equal:
        return Equal(self._named(variable), value, negated=True)

    def one_of(self, variable: Token, values: tuple[Text | Pattern, ...]) -> Among:
        return Among(self._named(variable), values)

    def none_of(self, variable: Token, values: tuple[Text | Pattern, ...]) -> Among:
        return Among(self._named(variable), values, negated=True)

    def before(self, variable: Token, at: Token) -> Beside:
        return Beside(self._named(variable), "before", _scaled(at))

    def after(self, variable: Token, at: Token) -> Beside:
        return Beside(self._named(variable), "after", _scaled(at))

    def between(self, variable: Token, low: Token, high: Token) -> Between:
        return _between(self._named(variable), low, high)

    def list(self, *values: Text | Pattern) -> tuple[Text | Pattern, ...]:
        return values

    def text(self, token: Token) -> Text:
        return Text(_unquote(token))

    def pattern(self, token: Token) -> Pattern:
        return _pattern(token)

    def variable(self, token: Token) -> Variable:
        return Variable(self._named(token))

    def matching(self, condition: Condition) -> Condition:
        return condition

    def _named(self, token: Token) -> str:
        return _variable(token, "start")


class _MatchingBuilder(_Builder):
    """The same, with the variables of matching rules."""

    def _named(self, token: Token) -> str:
        return _variable(token, "matching")


def _as(grant: Rule, effect: Effect, *, denies: bool = False) -> Rule:
    return Rule(effect, denies, grant.subject, grant.action, grant.place, grant.condition, grant.origin)


def _type(token: Token) -> str:
    word = token.lower()
    if word not in TYPE_WORDS:
        raise _Mistake(token, f'"{token}" is not a resource type', _close(word, tuple(set(TYPE_WORDS) - set(ALIASES))))
    return word


def _permission(token: Token) -> str:
    return "" if token.upper() in SERVICE_ONLY else _close(token.upper(), GRANTABLE)


def _variable(token: Token, start: Start) -> str:
    name = token.lower()
    meant = _DOUBTS[start](name)
    if meant is not None:
        raise _Mistake(token, f'"{token}" is not a variable', f'"{meant[0]}"' if meant else "")
    return name


def _scaled(token: Token) -> str:
    value = _unquote(token)
    if scale(value) is None:
        raise _Mistake(
            token,
            f"{token} is neither a moment ('2026-01-31T12:00:00Z'), a time of day ('09:00:00Z') nor a number",
        )
    return value


def _between(variable: str, low: Token, high: Token) -> Between:
    first, last = scale(_scaled(low)), scale(_scaled(high))
    if first is None or last is None or first.kind != last.kind:
        raise _Mistake(high, f"{low} and {high} are not of one kind")
    if first.kind == "moment" and last.at < first.at:
        raise _Mistake(high, "this range ends before it begins")
    return Between(variable, _unquote(low), _unquote(high))


def _pattern(token: Token) -> Pattern:
    """A star counts at the ends only, where no backslash stands before it."""
    pieces = re.findall(r"\\.|[^\\]", token[1:-1])
    opens = bool(pieces) and pieces[0] == "*"
    closes = len(pieces) > opens and pieces[-1] == "*"
    middle = pieces[opens : len(pieces) - closes]
    if "*" in middle:
        raise _Mistake(token, "a pattern has its star at the beginning, at the end, or both")
    if opens and not middle and not closes:
        opens, closes = False, True
    kinds: dict[tuple[bool, bool], PatternKind] = {
        (False, False): "exact",
        (False, True): "prefix",
        (True, False): "suffix",
        (True, True): "contains",
    }
    return Pattern(kinds[opens, closes], "".join(piece[-1] for piece in middle))


def _depth(condition: Condition) -> int:
    return 1 + max(_depth(part) for part in condition.parts) if isinstance(condition, Group) else 0


def _grouped(group: Group) -> Group:
    # Checked at every level on the way up, so the recursion of `_depth` is bounded too.
    if _depth(group) > MAX_DEPTH:
        raise Refusal("InvalidStatement", f"conditions nest at most {MAX_DEPTH} deep", hint="use fewer braces")
    return group
