"""Filters of SCIM, written: the other way round than the parser, for tests."""

import json
from collections.abc import Callable
from decimal import Decimal

from keystead.iam.federation.scim_filter import Both, Compare, Filter, Not, Within

RESOURCE = {
    "userName": "ada@corp.example", "active": True, "age": 36, "title": "",
    "name": {"familyName": "Lovelace", "givenName": None},
    "emails": [{"value": "ada@corp.example", "type": "work", "primary": True}, {"value": "a@home", "type": "home"}],
    "meta": {"created": "2026-01-01T00:00:00.000Z"},
}  # fmt: skip


def written(found: Filter, spell: Callable[[str], str] = str, space: str = " ") -> str:
    """The shortest text that is read as this. `spell` is asked for each word."""

    def side(each: Filter, *bare: str) -> str:
        text = written(each, spell, space)
        return text if not isinstance(each, Both) or each.word in bare else f"({text})"

    match found:
        case Both("and", left, right):
            return space.join((side(left, "and"), spell("and"), side(right)))
        case Both(word, left, right):
            return space.join((side(left, "and", "or"), spell(word), side(right, "and")))
        case Not(inner):
            return f"{spell('not')}{space}({written(inner, spell, space)})"
        case Within(path, inner):
            return f"{spell(_path(path))}[{written(inner, spell, space)}]"
        case Compare(path, "pr"):
            return f"{spell(_path(path))}{space}{spell('pr')}"
        case Compare(path, operator, value):
            return space.join((spell(_path(path)), spell(operator), _value(value, spell)))


def _path(path: tuple[str, ...]) -> str:
    """With a URN before it, so that it may be called whatever it is, `not` as well."""
    text = ".".join(path)
    return text if ":" in text else f"urn:{text}"


def _value(value: str | float | bool | None, spell: Callable[[str], str]) -> str:
    match value:
        case None | True | False:
            return spell(json.dumps(value))
        case str():
            return json.dumps(value)
        case _:
            return format(Decimal(repr(value)), "f")
