"""Lists come in pages: `limit` items and an opaque cursor for what follows."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from keystead.core.errors import Refusal

Item = TypeVar("Item")

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items of a list. `next` is None on the last page."""

    items: Sequence[Item]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is wanted. `after` is the sort key of the last item seen."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None

    @classmethod
    def of(cls, limit: int | None, cursor: str | None) -> "PageRequest":
        """From what a caller sent.

        Raises:
            Refusal: limit out of range or a cursor that is not ours.
        """
        size = DEFAULT_LIMIT if limit is None else limit
        if not 1 <= size <= MAX_LIMIT:
            raise Refusal("InvalidParameter", f"limit must be between 1 and {MAX_LIMIT}")
        return cls(size, None if cursor is None else _decode(cursor))


def cut(rows: Sequence[Item], limit: int, key: Callable[[Item], str]) -> Page[Item]:
    """Make a page of `rows`, of which one more than `limit` was fetched to learn whether more follow."""
    if len(rows) <= limit:
        return Page(rows)
    shown = rows[:limit]
    return Page(shown, base64.urlsafe_b64encode(key(shown[-1]).encode()).decode().rstrip("="))


def _decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as error:  # not ASCII, not base64, not UTF-8
        raise Refusal(
            "InvalidParameter", "the page cursor is not one of ours", hint="start again without it"
        ) from error
