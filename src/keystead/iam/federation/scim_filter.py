"""Filters of SCIM (RFC 7644, 3.4.2.2): read into a tree, and asked of resources as JSON objects.

    userName eq "ada" and (emails[type eq "work" and value co "@corp"] or not (active eq true))

Promise: any text is read or refused (`InvalidFilter`), in time that grows with its length; what a resource lacks
matches nothing but `ne` and `not`. Names are compared without regard to case, and so are values.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from keystead.core.errors import Refusal

Operator = Literal["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le", "pr"]
MAX_FILTER, MAX_DEPTH = 4000, 20
_TOKEN = re.compile(
    r'\s*(?:(?P<mark>[()\[\]])|(?P<text>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    r"|(?P<number>-?[0-9]{1,18}(?:\.[0-9]{1,18})?)(?![A-Za-z0-9_])|(?P<word>[A-Za-z$](?:[A-Za-z0-9_$.:-]{0,200})))"
)
_OPERATORS = frozenset({"eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"})


@dataclass(frozen=True, slots=True)
class Compare:
    """An attribute against a value; `pr` asks whether it is there."""

    path: tuple[str, ...]
    operator: Operator
    value: str | float | bool | None = None


@dataclass(frozen=True, slots=True)
class Within:
    """Whether one of an attribute's values meets a filter."""

    path: tuple[str, ...]
    filter: "Filter"


@dataclass(frozen=True, slots=True)
class Both:
    """Two filters, `and` or `or`."""

    word: Literal["and", "or"]
    left: "Filter"
    right: "Filter"


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    filter: "Filter"


Filter = Compare | Within | Both | Not


def invalid_filter(why: str) -> Refusal:
    """A filter that cannot be read."""
    return Refusal("InvalidFilter", f"the filter cannot be read: {why}", hint='for example: userName eq "ada"')


def parse(text: str) -> Filter:
    """Raises: Refusal `InvalidFilter`."""
    reader = _Reader(text)
    found = reader.either(0)
    reader.end()
    return found


def path_of(word: str) -> tuple[str, ...]:
    """An attribute's path, in lower case, without the URN of the core schemas before it."""
    lowered = word.lower()
    if lowered.startswith("urn:"):
        lowered = lowered.rpartition(":")[2]
    return tuple(lowered.split("."))


class _Reader:
    """Tokens, and the rules of the grammar."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_FILTER:
            raise invalid_filter("it is too long")
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if found is None or found.lastgroup is None:
                raise invalid_filter(f"at character {at + 1}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self._next = 0

    def end(self) -> None:
        if self._next != len(self._tokens):
            raise invalid_filter("there is more than one")

    def either(self, depth: int) -> Filter:
        left = self.both(depth)
        while self._word("or"):
            left = Both("or", left, self.both(depth))
        return left

    def both(self, depth: int) -> Filter:
        left = self.one(depth)
        while self._word("and"):
            left = Both("and", left, self.one(depth))
        return left

    def one(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise invalid_filter("it is nested too deeply")
        if self._word("not"):
            self._mark("(")
            inner = self.either(depth + 1)
            self._mark(")")
            return Not(inner)
        if self._peek() == ("mark", "("):
            self._next += 1
            inner = self.either(depth + 1)
            self._mark(")")
            return inner
        kind, text = self._take()
        if kind != "word":
            raise invalid_filter("an attribute is missing")
        path = path_of(text)
        if not all(path):
            raise invalid_filter("an attribute is not spelled well")
        if self._peek() == ("mark", "["):
            self._next += 1
            inner = self.either(depth + 1)
            self._mark("]")
            return Within(path, inner)
        return self._comparison(path)

    def _comparison(self, path: tuple[str, ...]) -> Compare:
        operator = self._take()[1].lower()
        if operator == "pr":
            return Compare(path, "pr")
        if operator not in _OPERATORS:
            raise invalid_filter("an operator is missing: eq ne co sw ew gt ge lt le pr")
        return Compare(path, operator, self._value())  # type: ignore[arg-type]  # one of them

    def _value(self) -> str | float | bool | None:
        kind, text = self._take()
        if kind == "text":
            try:
                read = json.loads(text)
                read.encode()
            except (ValueError, UnicodeEncodeError):
                raise invalid_filter("a text is not one") from None
            return str(read)
        if kind == "number":
            return float(text)
        words: dict[str, bool | None] = {"true": True, "false": False, "null": None}
        if kind == "word" and text.lower() in words:
            return words[text.lower()]
        raise invalid_filter("a value is missing")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _take(self) -> tuple[str, str]:
        found = self._peek()
        self._next += 1
        return found

    def _word(self, word: str) -> bool:
        kind, text = self._peek()
        if kind == "word" and text.lower() == word:
            self._next += 1
            return True
        return False

    def _mark(self, mark: str) -> None:
        if self._take() != ("mark", mark):
            raise invalid_filter(f"{mark} is missing")


def matches(wanted: Filter, resource: Mapping[str, Any]) -> bool:
    """Whether a resource meets a filter."""
    match wanted:
        case Both("and", left, right):
            return matches(left, resource) and matches(right, resource)
        case Both(_, left, right):
            return matches(left, resource) or matches(right, resource)
        case Not(inner):
            return not matches(inner, resource)
        case Within(path, inner):
            return any(isinstance(each, Mapping) and matches(inner, each) for each in values(resource, path))
        case Compare(path, operator, value):
            return _compares(values(resource, path), operator, value)


def values(resource: Any, path: tuple[str, ...]) -> list[Any]:
    """Every value at a path; those of a list one by one, and of a complex one without a sub-attribute its `value`."""
    found = [resource]
    for name in path:
        found = [each[key] for each in _flat(found) if isinstance(each, Mapping) for key in each if key.lower() == name]
    return _flat(found)


def _flat(found: list[Any]) -> list[Any]:
    return [inner for each in found for inner in (each if isinstance(each, list) else [each])]


def _compares(found: list[Any], operator: Operator, value: str | float | bool | None) -> bool:
    plain = [each.get("value") if isinstance(each, Mapping) else each for each in found]
    there = [each for each in plain if each is not None and each != ""]
    if operator == "pr":
        return bool([each for each in found if each not in (None, "")])
    if operator == "ne":
        return not _compares(found, "eq", value)
    if value is None:
        return operator == "eq" and not there
    return any(_holds(each, operator, value) for each in there)


def _holds(held: Any, operator: Operator, value: str | float | bool) -> bool:
    if isinstance(held, bool) or isinstance(value, bool):
        return operator == "eq" and held is value
    if isinstance(held, int | float) and isinstance(value, int | float):
        left: Any = held
        right: Any = value
    elif isinstance(held, str) and isinstance(value, str):
        left, right = held.casefold(), value.casefold()
    else:
        return False
    match operator:
        case "eq":
            return bool(left == right)
        case "co":
            return isinstance(left, str) and right in left
        case "sw":
            return isinstance(left, str) and left.startswith(right)
        case "ew":
            return isinstance(left, str) and left.endswith(right)
        case "gt":
            return bool(left > right)
        case "ge":
            return bool(left >= right)
        case "lt":
            return bool(left < right)
        case _:
            return operator == "le" and bool(left <= right)
