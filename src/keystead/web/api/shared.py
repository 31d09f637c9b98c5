"""What the API files share."""

from collections.abc import Callable
from typing import Any, TypeVar

from keystead.core.page import Page

Item = TypeVar("Item")
Reply = TypeVar("Reply")


def paged(found: Page[Item], shown: Callable[[Item], Any], reply: Callable[..., Reply]) -> Reply:
    """A page of domain objects as a page of replies."""
    return reply(items=[shown(item) for item in found.items], next_page=found.next)
