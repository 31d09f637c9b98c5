"""What the dialects share: what has happened, in one vocabulary; pages without pages; lenient messages.

Every protocol has its own words for a disabled key or a caller who may not. What has happened is decided once, here
(`event_of`); a dialect is a table from `Event` to status and words. An event that a table lacks is a type error where
the table is declared as `Mapping[Event, ...]` and walked by the tests.

    key usable                 the answer             caller unknown             unauthenticated
    disabled (or its version)  disabled               caller may not             denied
    deletion scheduled         pending_deletion       absent, hidden, other's    absent
    not-before, expiry         not_yet_valid, expired ciphertext does not open   unreadable
    deleted, its vault too     deleted                the key is not for that    wrong_operation
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args

import msgspec

from keystead.core.errors import Fault, Kind, Refusal, Unavailable, Unreadable
from keystead.core.page import MAX_LIMIT, Page, PageRequest
from keystead.vault.lifecycle.table import Loss, NotUsable
from keystead.vault.memory.keyring import VersionShut

Event = Literal[
    "unauthenticated",
    "denied",
    "absent",
    "disabled",
    "pending_deletion",
    "not_yet_valid",
    "expired",
    "deleted",
    "unreadable",
    "wrong_operation",
    "bad_request",
    "taken",
    "conflict",
    "stale",
    "too_large",
    "too_many",
    "no_such_operation",
    "wrong_method",
    "sealed",
    "unavailable",
    "fault",
]
EVENTS: tuple[Event, ...] = get_args(Event)

_LOSSES: Mapping[Loss, Event] = {
    "key_disabled": "disabled",
    "version_disabled": "disabled",
    "key_pending_deletion": "pending_deletion",
    "key_deleted": "deleted",
    "key_expired": "expired",
    "key_not_yet_valid": "not_yet_valid",
    "vault_deleted": "deleted",
}
_CODES: Mapping[str, Event] = {
    "WrongOperation": "wrong_operation",
    "OperationNotPermitted": "wrong_operation",
    "NameTaken": "taken",
    "NoSuchOperation": "no_such_operation",
    "MethodNotAllowed": "wrong_method",
    "Sealed": "sealed",
}
_KINDS: Mapping[Kind, Event] = {
    "bad_request": "bad_request",
    "unauthenticated": "unauthenticated",
    "denied": "denied",
    "not_found": "absent",
    "conflict": "conflict",
    "stale": "stale",
    "too_large": "too_large",
    "too_many": "too_many",
    "unavailable": "unavailable",
}

Item = TypeVar("Item")


class Loose(msgspec.Struct, kw_only=True, gc=False):
    """The base of foreign requests: what is not known is passed over, as their servers do. Shows nothing of itself."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def event_of(error: BaseException) -> Event:
    """What has happened, when a request is answered with `error`."""
    match error:
        case Unreadable():
            return "unreadable"
        case NotUsable():
            return _LOSSES[error.loss]
        case VersionShut():
            return "disabled"
        case Refusal():
            return _CODES.get(error.code) or _KINDS[error.kind]
        case Unavailable():
            return "unavailable"
        case Fault() if error.code == "AuditUnavailable":
            return "unavailable"
        case _:
            return "fault"


def every(fetch: Callable[[PageRequest], Page[Item]]) -> Iterator[Item]:
    """All items of a list, page after page, for protocols whose lists have no end."""
    cursor: str | None = None
    while True:
        page = fetch(PageRequest.of(MAX_LIMIT, cursor))
        yield from page.items
        cursor = page.next
        if cursor is None:
            return


def loose_decoder(kind: Any) -> "msgspec.json.Decoder[Any]":
    """A decoder that takes "256" for 256, as foreign clients write numbers either way."""
    return msgspec.json.Decoder(kind, strict=False)
