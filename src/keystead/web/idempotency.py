"""Idempotency keys: a creating request sent twice creates once.

A caller may send `Idempotency-Key` with a creating POST. The first such request is noted before it is done and its
answer is kept for 24 hours, per principal; the same request with the same key gets that answer again, another request
with the same key is a conflict. Secrets are not kept: in a replay they are null and `already_shown` is true.

What the guard allowed the first time is kept beside the answer and decided anew before it is given again: who has lost
a right since then is refused, as everywhere.

A request that was refused changed nothing, so its note is removed. A note without an answer means that the first
request is still running, or that the process died in it: the caller is told to look before trying a new key.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import msgspec

from keystead.core.errors import Refusal
from keystead.iam.model import Caller, Granted

KEPT = timedelta(hours=24)
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of an earlier request. `status` is 0 as long as it has no answer. `granted`: see `granted_of`."""

    request_hash: bytes
    status: int
    body: bytes
    granted: bytes


class IdempotencyStore(Protocol):
    """Notes of creating requests. Its changes are durable when its methods return."""

    def begin(self, tenancy: str, principal: str, key: str, request_hash: bytes) -> Remembered | None:
        """Note that a request begins; atomically: of two with one key, one gets None and the other gets the note.

        Notes older than `KEPT` count as absent.
        """
        ...

    def finish(self, tenancy: str, principal: str, key: str, status: int, body: bytes, granted: bytes) -> None:
        """Keep the answer, and what was allowed for it."""
        ...

    def forget(self, tenancy: str, principal: str, key: str) -> None:
        """Remove the note: the request was refused and changed nothing."""
        ...


def check_key(raw: bytes) -> str:
    """The header's value.

    Raises:
        Refusal: too long, or not visible ASCII.
    """
    text = raw.decode("latin-1")
    if _KEY.fullmatch(text) is None:
        raise Refusal(
            "InvalidParameter",
            "the Idempotency-Key cannot be used",
            hint="1 to 128 visible ASCII characters, for example a UUID",
        )
    return text


def hash_request(method: str, raw_path: bytes, query: bytes, body: bytes) -> bytes:
    """What makes two requests the same: method, target and body. SHA-256 over the parts with their lengths."""
    digest = hashlib.sha256()
    for part in (method.encode(), raw_path, query, body):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def check_same(found: Remembered, request_hash: bytes) -> None:
    """Raises: Refusal when the key was used for another request, or the first has no answer yet."""
    if found.request_hash != request_hash:
        raise Refusal(
            "IdempotencyMismatch",
            "this Idempotency-Key was used for another request",
            hint="use a fresh key for each new request",
            kind="conflict",
        )
    if found.status == 0 or not found.granted:  # or nobody could say any more what it needed
        raise Refusal(
            "IdempotencyUnfinished",
            "the first request with this Idempotency-Key has no answer yet",
            hint="wait and repeat; if it stays so it was cut off: look whether the thing exists, then use a fresh key",
            kind="conflict",
        )


_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(list[Granted]).decode


def kept_grants(caller: Caller) -> bytes:
    """What the guard allowed the caller itself in the request under way, to be kept."""
    granted = caller.asked.granted if caller.asked is not None else ()
    return _encode([each for each in granted if each.principal == caller.principal.id])


def granted_of(found: Remembered) -> list[Granted]:
    """The same, read again."""
    return _decode(found.granted)


def without_secrets(body: bytes, secrets: tuple[str, ...]) -> bytes:
    """The answer as it is kept and replayed."""
    if not secrets:
        return body
    fields: dict[str, object] = msgspec.json.decode(body)
    fields.update(dict.fromkeys(secrets))
    fields["already_shown"] = True
    return msgspec.json.encode(fields)
