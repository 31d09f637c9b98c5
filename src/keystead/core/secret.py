"""`Secret`: bytes that do not get out by accident.

Its repr, str and format are redacted, comparison takes constant time, pickling and copying are refused, and reading
it has a name that can be grepped: `reveal`. Honest limit: CPython may have copied the bytes before; see
docs/threat-model.md.
"""

import hmac
from typing import NoReturn


class Secret:
    """Secret bytes held in a bytearray that `wipe` overwrites."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self._value = bytearray(value)

    def reveal(self) -> bytes:
        """The bytes themselves. Every call is a place to look at."""
        return bytes(self._value)

    def wipe(self) -> None:
        """Overwrite with zeros and forget."""
        self._value[:] = bytes(len(self._value))
        del self._value[:]

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret is a leak

    def __repr__(self) -> str:
        return "Secret(…)"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Secret is neither pickled nor copied")

    __reduce__ = __reduce_ex__ = __copy__ = __deepcopy__ = __getstate__ = _refuse
