"""What one audit entry says.

Who (principal, requester, token, source address), what (permission and operation), on what (resource), when, and what
came of it. Texts are for people and hold neither key nor token nor plaintext. `generation` is that of the state change
the entry belongs to, 0 for acts that change no state; an entry with a generation is written by id and counts once,
however often it is copied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

Outcome = Literal["allowed", "refused", "intent", "succeeded", "failed"]

NO_DETAIL: Final[Mapping[str, str]] = MappingProxyType({})


class Entry(NamedTuple):
    """One act and its outcome. Fields that do not apply are empty.

    A named tuple because one is made for every request: a frozen dataclass of so many fields costs three times as much.

    `action` is the permission asked for (KEY_DECRYPT), `operation` the call (Decrypt). `tenancy` is whose trail the
    entry belongs to; entries before anybody is known (a bad token) have none.
    """

    id: str
    at: datetime
    tenancy: str
    compartment: str
    principal_id: str
    principal_type: str
    principal_name: str
    requester: str
    token_id: str
    source: str
    request_id: str
    action: str
    operation: str
    resource_type: str
    resource_id: str
    resource_name: str
    outcome: Outcome
    code: str = ""
    reason: str = ""
    detail: Mapping[str, str] = NO_DETAIL
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """How far one writer's chain goes: its last sequence (0: no entry yet) and the hash of its last line, in hex."""

    sequence: int
    hash: str
