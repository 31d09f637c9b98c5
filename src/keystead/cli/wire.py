"""Requests and answers, as the commands see them. Light to import; `client` is what sends them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

Json = dict[str, Any]

BASE = "/keystead/v1"


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer. `data` is {} when the body is empty; `version` is the ETag without its quotes."""

    status: int
    data: Json
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `path` is below `/keystead/v1`; `once` adds an Idempotency-Key."""

    method: str
    path: str
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    body: Json | None = None
    if_match: str | None = None
    once: bool = False

    def target(self) -> str:
        """The raw request target."""
        asked = {key: value for key, value in self.query.items() if value is not None}
        return BASE + self.path + (f"?{urlencode(asked, quote_via=quote)}" if asked else "")
