"""The one canonical encoding: what is authenticated, hashed or signed goes through here.

RFC 8785 (JSON canonicalization) restricted to null, booleans, integers of at most 53 bits, strings, lists and objects
with string keys: sorted by key (UTF-16 code units as RFC 8785 asks; our keys are ASCII), no white space, UTF-8.
Floats are refused, so that there is one spelling of every value.
"""

import json
from collections.abc import Mapping, Sequence

Value = None | bool | int | str | Sequence["Value"] | Mapping[str, "Value"]

_LIMIT = 2**53


def encode(value: "Value") -> bytes:
    """The canonical bytes of `value`.

    Raises:
        ValueError: a float, an integer beyond 53 bits, a key that is not ASCII, or a foreign type.
    """
    _check(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _check(value: object) -> None:
    match value:
        case None | bool() | str():
            return
        case int():
            if abs(value) >= _LIMIT:
                raise ValueError("integer beyond 53 bits")
        case dict():
            for key, item in value.items():
                if not isinstance(key, str) or not key.isascii():
                    raise ValueError("object keys are ASCII strings")
                _check(item)
        case list() | tuple():
            for item in value:
                _check(item)
        case _:
            raise ValueError(f"{type(value).__name__} has no canonical form")
