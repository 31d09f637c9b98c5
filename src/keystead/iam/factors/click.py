"""Click-to-allow: a session that was itself begun with a second factor lets another sign-in of the same user in.

The sign-in shows a number of two digits; who approves types it, so that a click out of habit opens nothing. A wrong
number denies. It is open for a minute, and a user is asked about at most three sign-ins an hour.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import compare_digest
from typing import Final

from keystead.core.errors import Refusal, not_found
from keystead.core.ids import parse_id
from keystead.iam.base import Base
from keystead.iam.factors.model import SECOND_FACTORS, PendingSignIn
from keystead.iam.model import Caller

WINDOW: Final = timedelta(seconds=60)
FATIGUE: Final = (3, timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Asked:
    """A sign-in that waits for its owner. The number is not told: whoever signs in reads it."""

    id: str
    source: str
    asked_at: datetime
    until: datetime


class Clicks(Base):
    """What the other device does."""

    def list_sign_ins(self, caller: Caller) -> list[Asked]:
        """The caller's own sign-ins that wait for an answer."""
        self._voucher(caller, "ListSignIns")
        now, who = self._clock.now(), caller.principal
        with self._store.read() as tx:
            found = tx.factors.sign_ins(who.tenancy, who.id, now - timedelta(hours=1))
        entry = self._guard.entry(caller, "SIGN_IN", self._own(caller), "ListSignIns", "allowed")
        self._log.append(entry)
        return [
            Asked(each.id, each.source, each.asked_at, each.asked_at + WINDOW)
            for each in sorted(found, key=lambda each: each.created_at)
            if each.asked_at is not None and _waits(each, now)
        ]

    def answer_sign_in(self, caller: Caller, sign_in_id: str, number: str) -> bool:
        """Let it in by the number that it shows; anything else denies it. Returns whether it was let in.

        Raises:
            Refusal: `NotFound` when none of the caller's waits under this id.
        """
        parse_id(sign_in_id, "signin")
        self._voucher(caller, "AnswerSignIn")
        now, who, target = self._clock.now(), caller.principal, self._own(caller)
        with self._store.read() as tx:
            found = tx.factors.sign_in(sign_in_id)
        if found is None or str(found.user) != who.id or found.tenancy != who.tenancy or not _waits(found, now):
            self._guard.refuse(caller, "SIGN_IN", target, "AnswerSignIn", not_found("sign-in"))
        right = compare_digest(found.number.encode(), number.strip().encode("utf-8", "replace"))
        after = replace(found, answer="approved" if right else "denied", answered_from=caller.source)
        detail = {"sign_in": sign_in_id, "from": found.source, "answer": after.answer}
        entry = self._guard.entry(caller, "SIGN_IN", target, "AnswerSignIn", "allowed", detail=detail)
        self._log.append(entry)
        with self._store.note() as tx:
            if not tx.factors.change_sign_in(found, after):
                self._guard.refuse(caller, "SIGN_IN", target, "AnswerSignIn", not_found("sign-in"))
        return right

    def _voucher(self, caller: Caller, operation: str) -> None:
        if not caller.factors & SECOND_FACTORS:
            refusal = Refusal(
                "FreshFactorNeeded",
                "only a session that was begun with a second factor vouches for another",
                hint="sign in with a second factor: keystead login",
                kind="denied",
            )
            self._guard.refuse(caller, "SIGN_IN", self._own(caller), operation, refusal)


def _waits(found: PendingSignIn, now: datetime) -> bool:
    asked = found.asked_at
    return found.state == "OPEN" and found.answer == "waiting" and asked is not None and asked <= now < asked + WINDOW
