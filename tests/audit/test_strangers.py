"""Strangers do not fill the audit log: few entries, no number lost, and nobody who is known is counted."""

import random
from collections import Counter

import pytest
from tests.fakes.domain import ListJournal

from keystead.audit.model import Entry
from keystead.audit.strangers import ELSEWHERE, IN_ALL, KINDS, NETWORKS, SINGLY, WINDOW_S, GuardedLog, TooManyRefusals
from keystead.core.clock import ManualClock
from keystead.core.errors import Fault
from keystead.iam.factors.network import network_of


class Log:
    def __init__(self) -> None:
        self.journal, self.clock = ListJournal(), ManualClock()
        self.log = GuardedLog(self.journal, self.clock, "home", network_of)
        self.refused = 0

    @property
    def entries(self) -> list[Entry]:
        return list(self.journal.entries)

    def append(
        self, source: str, operation: str = "Decrypt", who: str = "", outcome: str = "refused", tenancy: str = ""
    ) -> bool:
        """Whether it was told that this is only counted."""
        self.refused += outcome == "refused" and not who
        entry = Entry(
            f"e{self.refused}", self.clock.now(), tenancy, "", who, "user", "", "", "", source, "r", "", operation,
            "", "", "", outcome, "NotAuthenticated",
        )  # type: ignore[arg-type]  # fmt: skip  # an outcome
        try:
            self.log.append(entry)
        except TooManyRefusals as limited:
            assert 0 < limited.retry_s <= WINDOW_S and limited.recorded
            return True
        return False

    def accounted_for(self) -> int:
        """Refusals of strangers that the log tells of."""
        counted = [entry for entry in self.entries if entry.operation == "CountRefusals"]
        for entry in counted:
            kinds = {name: number for name, number in entry.detail.items() if name not in ("count", "since", "until")}
            assert sum(map(int, kinds.values())) == int(entry.detail["count"])
        singly = [each for each in self.entries if each.outcome == "refused" and not each.principal_id]
        return len(singly) - len(counted) + sum(int(entry.detail["count"]) for entry in counted)


def test_ten_thousand_from_one_network_are_some_entries() -> None:
    log = Log()
    told = [log.append(f"192.0.2.{number % 250}", random.choice(["Encrypt", "Decrypt"])) for number in range(10_000)]
    assert told == [False] * SINGLY + [True] * (10_000 - SINGLY)
    assert "further" not in log.entries[SINGLY - 1].detail and log.entries[-1].detail["further"] == "counted for 60 s"
    log.log.settle()
    assert len(log.entries) == SINGLY + 1, "the window is not over"
    log.clock.advance(WINDOW_S)
    log.log.settle()
    assert len(log.entries) == SINGLY + 2
    told_of = log.entries[-1]
    assert (told_of.source, told_of.outcome, told_of.detail["count"]) == ("192.0.2.0/24", "refused", "9879")
    assert set(told_of.detail) == {"count", "since", "until", "Encrypt NotAuthenticated", "Decrypt NotAuthenticated"}
    assert log.accounted_for() == 10_000
    assert not log.append("192.0.2.1"), "a window of its own"


def test_a_flood_from_everywhere_is_bounded_too() -> None:
    log = Log()
    chosen = random.Random(7)
    for _ in range(10_000):
        log.append(f"10.{chosen.randrange(40)}.{chosen.randrange(40)}.1", f"Made{chosen.randrange(100)}")
    log.log.close()
    assert log.accounted_for() == 10_000
    assert len(log.entries) <= IN_ALL + 2 * (NETWORKS + 1)
    assert Counter(entry.source for entry in log.entries)[ELSEWHERE] == 1, "one for all that there was no room for"
    assert max(len(entry.detail) for entry in log.entries) <= KINDS + 4


def test_what_the_window_left_is_written_by_whatever_comes_after_it() -> None:
    log = Log()
    for _ in range(SINGLY + 5):
        log.append("192.0.2.1")
    log.clock.advance(WINDOW_S + 1)
    log.append("198.51.100.1")
    assert [entry.operation for entry in log.entries[-2:]] == ["CountRefusals", "Decrypt"]
    assert log.accounted_for() == log.refused


def test_who_is_known_is_never_counted_and_each_tenancy_has_its_own_numbers() -> None:
    log = Log()
    for _ in range(SINGLY * 3):
        log.append("192.0.2.1", tenancy="acme")
    assert not log.append("192.0.2.1", who="alice") and log.entries[-1].principal_id == "alice"
    assert not log.append("192.0.2.1", outcome="allowed")
    assert not log.append("2001:db8::1", tenancy="acme")
    assert log.append("192.0.2.1", tenancy="other") and log.entries[-1].tenancy == "other", "answered alike, recorded"
    log.log.close()
    assert (log.entries[-1].tenancy, log.entries[-1].detail["count"]) == ("acme", str(2 * SINGLY - 1))
    assert log.accounted_for() == log.refused


def test_names_that_nobody_has_are_answered_as_those_that_somebody_has() -> None:
    """A wrong password is bounded by what it costs; to count those of strangers alone would tell who is there."""
    log = Log()
    for _ in range(SINGLY * 2):
        log.append("192.0.2.1")
    assert not log.append("192.0.2.1", operation="SignIn") and not log.append("192.0.2.1", "SignIn", who="alice")


def test_numbers_that_cannot_be_written_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    for _ in range(SINGLY + 5):
        log.append("192.0.2.1")
    log.clock.advance(WINDOW_S)
    append = log.journal.append

    def full(*_: object) -> None:
        raise Fault("AuditUnavailable", "no space")

    monkeypatch.setattr(log.journal, "append", full)
    with pytest.raises(Fault):
        log.log.settle()
    monkeypatch.setattr(log.journal, "append", append)
    log.log.settle()
    assert log.accounted_for() == log.refused
