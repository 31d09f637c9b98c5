"""Unsealing by people: shares one by one, whatever is wrong refused alike, tries limited, nothing kept."""

from datetime import UTC, datetime

import pytest

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.crypto.kdf import Cost
from keystead.seal import service
from keystead.seal.attempt import SECONDS_PER_TRY, TRIES, Attempt, Progress
from keystead.seal.openers import Identity, KeyFile, NewShares, Passphrase

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEW, SECOND, STRANGE = NewShares(3, 5), NewShares(2, 2), NewShares(3, 5)
KEY_FILE, IDENTITY = KeyFile.generate(), Identity.generate()
PAPER = Passphrase("correct horse battery", "paper", Cost(8 * 1024, 1, 1))
SEAL, ROOT = service.create("home", [NEW, SECOND, KEY_FILE, IDENTITY.recipient(), PAPER], NOW)


def words(made: NewShares, number: int) -> Secret:
    return Secret(made.shares[number - 1].text.reveal())


def refused(attempt: Attempt, given: Secret, at: float = 0.0) -> Refusal:
    with pytest.raises(Refusal) as caught:
        attempt.give(SEAL, "share", given, at)
    return caught.value


def test_one_by_one() -> None:
    attempt = Attempt()
    assert attempt.give(SEAL, "share", words(NEW, 5), 0.0) is None
    assert attempt.give(SEAL, "share", words(NEW, 2), 0.0) is None
    assert attempt.progress(SEAL) == (Progress(NEW.quorum.set, 3, (2, 5)), Progress(SECOND.quorum.set, 2, ()))
    root = attempt.give(SEAL, "share", words(NEW, 1), 0.0)
    assert root is not None and root.subkey("audit") == ROOT.subkey("audit")
    assert attempt.progress(SEAL)[0].given == ()


def test_the_same_share_twice_counts_once() -> None:
    attempt = Attempt()
    for _ in range(4):
        assert attempt.give(SEAL, "share", words(NEW, 2), 0.0) is None
    assert attempt.progress(SEAL)[0].given == (2,)


def test_sets_go_side_by_side_and_never_together() -> None:
    attempt = Attempt()
    attempt.give(SEAL, "share", words(NEW, 1), 0.0)
    attempt.give(SEAL, "share", words(SECOND, 1), 0.0)
    attempt.give(SEAL, "share", words(NEW, 2), 0.0)
    assert [each.given for each in attempt.progress(SEAL)] == [(1, 2), (1,)]
    assert attempt.give(SEAL, "share", words(SECOND, 2), 0.0) is not None


def test_what_is_wrong_is_refused_alike_and_changes_nothing() -> None:
    attempt = Attempt()
    attempt.give(SEAL, "share", words(NEW, 1), 0.0)
    broken = words(NEW, 2).reveal().split()
    broken[10], broken[11] = broken[11], broken[10]
    said = {
        refused(attempt, given).message
        for given in (words(STRANGE, 2), Secret(b"not a share"), Secret(b" ".join(broken)), Secret(b"\xff" * 40))
    }
    assert len(said) == 1
    assert attempt.progress(SEAL)[0].given == (1,)


def test_reset_forgets() -> None:
    attempt = Attempt()
    attempt.give(SEAL, "share", words(NEW, 1), 0.0)
    held = next(iter(attempt._held[NEW.quorum.set].values()))
    attempt.reset()
    assert not len(held.text)
    assert attempt.progress(SEAL)[0].given == ()


def test_what_was_given_is_overwritten() -> None:
    attempt = Attempt()
    for kind, given in (("share", words(NEW, 1)), ("passphrase", Secret(b"correct horse battery"))):
        attempt.give(SEAL, kind, given, 0.0)  # type: ignore[arg-type]
        assert not len(given)


def test_each_other_kind_opens_alone() -> None:
    attempt = Attempt()
    for kind, given in (
        ("passphrase", Secret(b"correct horse battery")),
        ("key-file", KEY_FILE.content()),
        ("identity", IDENTITY.content()),
    ):
        root = attempt.give(SEAL, kind, given, 0.0)  # type: ignore[arg-type]
        assert root is not None and root.subkey("audit") == ROOT.subkey("audit")
    for kind, given in (
        ("passphrase", Secret(b"incorrect horse battery")),
        ("key-file", KeyFile.generate().content()),
        ("identity", Identity.generate().content()),
    ):
        with pytest.raises(Refusal) as caught:
            attempt.give(SEAL, kind, given, 0.0)  # type: ignore[arg-type]
        assert caught.value.code == "WrongRootKey"


def test_tries_are_limited_and_come_back_with_time() -> None:
    attempt = Attempt()
    for _ in range(int(TRIES)):
        assert refused(attempt, Secret(b"x"), 100.0).code == "WrongShare"
    limit = refused(attempt, words(NEW, 1), 100.0)
    assert (limit.code, limit.kind) == ("TooManyTries", "too_many") and 0 < limit.retry_s <= SECONDS_PER_TRY
    assert attempt.progress(SEAL)[0].given == ()
    attempt.give(SEAL, "share", words(NEW, 1), 100.0 + SECONDS_PER_TRY)
    assert refused(attempt, words(NEW, 2), 100.0 + SECONDS_PER_TRY).code == "TooManyTries"
    assert attempt.progress(SEAL)[0].given == (1,)
