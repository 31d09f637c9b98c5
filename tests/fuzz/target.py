"""What is fuzzed: a function of bytes, bytes that get far, and the words of its language."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keystead.core.errors import KeysteadError, Unreadable
from keystead.crypto.envelope import Binding
from keystead.crypto.suites import CURRENT

VECTORS = Path(__file__).parents[1] / "vectors"


SUITES = [CURRENT[name] for name in sorted(CURRENT)]


KEY = bytes(range(32))


BINDING = Binding("customer-data", "t", "home", "", "k")


TENANCY = "ks1.tenancy.main.home." + "t" * 32


@dataclass(frozen=True)
class Target:
    """`run` raises what is a finding; `seeds` are bytes that get far; `words` what its language is made of."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    words: tuple[bytes, ...] = ()


def vectors(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def fine(*errors: type[Exception]) -> contextlib.AbstractContextManager[None]:
    """Refused as promised."""
    return contextlib.suppress(KeysteadError, *errors)


class Xor:
    """A wrapping that anybody can undo, so that what lies behind it is reached."""

    def wrap(self, key: bytes) -> bytes:
        return bytes(a ^ 0x55 for a in key)

    def unwrap(self, wrapped: bytes) -> bytes:
        if len(wrapped) != 32:
            raise Unreadable
        return self.wrap(wrapped)
