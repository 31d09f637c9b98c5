"""Budgets of attempts, in the store: who may try, and what a try costs. See lockout for the rules."""

import hashlib
import hmac
import math
from datetime import datetime
from typing import Final

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.iam.factors.lockout import FORGET, MAX_BUDGETS, Budget, BudgetKind, give_back, pay
from keystead.iam.factors.network import network_of
from keystead.iam.factors.ports import FactorRows, Notes

_FIELD: Final = b"\x00"


class Attempts:
    """Pays for attempts before anything is looked at."""

    def __init__(self, store: Notes, marks: Secret) -> None:
        self._store = store
        self._marks = marks

    def mark(self, *words: str | bytes) -> bytes:
        """A digest under the region's key, so that rows do not tell which names were tried."""
        parts = [word.casefold().encode() if isinstance(word, str) else word for word in words]
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._marks.reveal(), framed, hashlib.sha256)

    def budgets_of(self, tenancy: str, user: str, source: str, device: bytes) -> list[tuple[BudgetKind, bytes]]:
        """What an attempt is paid from. `device`: the mark of a known one; it has its own budget, and only that."""
        if device:
            return [("device", self.mark("device", tenancy, user, device))]
        network = network_of(source)
        return [("place", self.mark("place", tenancy, user, network)), ("source", self.mark("source", network))]

    def pay(self, budgets: list[tuple[BudgetKind, bytes]], now: datetime) -> None:
        """One attempt from each.

        Raises:
            Refusal: `TooManyAttempts`; nothing was paid.
        """
        with self._store.note() as tx:
            paid: list[Budget] = []
            for kind, mark in budgets:
                budget, wait = pay(tx.factors.budget(kind, mark), kind, mark, now)
                if wait:
                    raise _too_many(math.ceil(wait.total_seconds()))
                paid.append(budget)
            for budget in paid:
                _keep(tx.factors, budget, now)

    def give_back(self, budgets: list[tuple[BudgetKind, bytes]]) -> None:
        """After a sign-in that succeeded."""
        with self._store.note() as tx:
            for kind, mark in budgets:
                found = tx.factors.budget(kind, mark)
                left = give_back(found) if found is not None else None
                if left is not None:
                    tx.factors.set_budget(left)
                elif found is not None:
                    tx.factors.delete_budget(kind, mark)

    def failed(self, tenancy: str, user: str, now: datetime) -> None:
        """Count a failure for this user, whoever it was: risk looks at it."""
        mark = self.mark("user", tenancy, user)
        with self._store.note() as tx:
            budget, _ = pay(tx.factors.budget("user", mark), "user", mark, now)
            _keep(tx.factors, budget, now)

    def failures(self, rows: FactorRows, tenancy: str, user: str, now: datetime) -> int:
        """How many there were lately."""
        found = rows.budget("user", self.mark("user", tenancy, user))
        return found.spent if found is not None and now - found.at < FORGET else 0


def _keep(rows: FactorRows, budget: Budget, now: datetime) -> None:
    rows.set_budget(budget)
    if budget.spent == 1:  # a new one: rows are bounded where they are made
        rows.trim_budgets(now - FORGET, MAX_BUDGETS)


def _too_many(seconds: int) -> Refusal:
    return Refusal(
        "TooManyAttempts",
        f"too many attempts from there; the next one in {seconds} s",
        hint="wait; a device that has signed in before is not held up by what others try",
        kind="too_many",
        retry_s=seconds,
    )
