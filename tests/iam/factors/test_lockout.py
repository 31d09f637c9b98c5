"""Budgets: what attackers spend, and that it is not their victim's."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.domain import PASSWORD, DomainRegion, make_region

from keystead.adapters.sql.factors import SqlFactorRows
from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.iam.factors.lockout import FREE, LONGEST, Budget, BudgetKind, give_back, pay
from keystead.iam.factors.network import network_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
RIGHT = Secret(PASSWORD)


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> DomainRegion:
    return make_region(tmp_path_factory.mktemp("region"))


def test_attempts_are_free_at_first_and_then_cost_more_and_more() -> None:
    budget, now, waits = None, NOW, []
    for _ in range(14):
        budget, wait = pay(budget, "place", b"m", now)
        if wait:
            waits.append(wait.total_seconds())
            now += wait
            budget, wait = pay(budget, "place", b"m", now)
            assert not wait
    assert waits == sorted(waits) and waits[:3] == [2, 4, 8] and max(waits) <= LONGEST.total_seconds()
    assert budget.spent == 14


def test_a_wait_is_not_paid_for_and_is_forgotten_after_an_hour() -> None:
    budget = Budget(b"m", "place", 9, NOW, NOW + timedelta(minutes=1))
    assert pay(budget, "place", b"m", NOW) == (budget, timedelta(minutes=1))
    fresh, wait = pay(budget, "place", b"m", NOW + timedelta(hours=1))
    assert (fresh.spent, wait) == (1, timedelta(0))


def test_a_clock_set_back_makes_nobody_wait_longer_than_the_longest() -> None:
    budget = Budget(b"m", "place", 9, NOW, NOW + timedelta(minutes=1))
    assert pay(budget, "place", b"m", NOW - timedelta(days=9))[1] == LONGEST


@pytest.mark.parametrize("kind", ["device", "place", "source"])
def test_of_several_at_once_none_waits_for_having_begun_first(kind: BudgetKind) -> None:
    """Their clocks are read before they pay, one after the other, in any order."""
    budget = None
    for number in range(FREE[kind]):
        budget, wait = pay(budget, kind, b"m", NOW - timedelta(milliseconds=number))
        assert not wait
    assert budget is not None and budget.at == NOW


def test_what_was_given_back_holds_up_nobody_who_began_before() -> None:
    paid, _ = pay(Budget(b"m", "source", 1, NOW, NOW), "source", b"m", NOW)
    left = give_back(paid)
    assert left is not None
    assert pay(left, "source", b"m", NOW - timedelta(seconds=1))[1] == timedelta(0)


def test_signing_in_to_ones_own_account_does_not_clean_a_source() -> None:
    spent = FREE["source"] + 3
    left = give_back(Budget(b"m", "source", spent, NOW, NOW))
    assert left is not None and left.spent == spent - 1
    assert give_back(Budget(b"m", "place", 3, NOW, NOW)) is None


@given(st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_a_network_is_the_same_for_all_its_addresses(number: int, last: int) -> None:
    import ipaddress

    address = str(ipaddress.IPv4Address(number))
    beside = address.rpartition(".")[0] + f".{last}"
    assert network_of(address) == network_of(beside) == network_of(f"::ffff:{address}")
    assert network_of(f"private {address}") == f"private {network_of(address)}"


def test_sources_that_are_no_addresses_are_themselves() -> None:
    assert [network_of(each) for each in ("unix", "", "2001:db8::1")] == ["unix", "unknown", "2001:db8::/48"]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_strangers_do_the_owner_gets_in_from_a_known_device(region: DomainRegion, seed: int) -> None:
    dice, iam = random.Random(seed), region.iam
    region.clock.advance(7200)
    device = iam.sign_in("acme", "admin", RIGHT, "192.0.2.1", "r", "").device
    for _ in range(40):
        source = dice.choice(["192.0.2.1", "192.0.2.77", "203.0.113.9", f"198.51.{dice.randrange(99)}.1", "unix"])
        shown = dice.choice([None, "", "ksd_" + "x" * 43, device[:-1] + "?"])
        user = dice.choice(["admin", "Admin", "admin", f"nobody{dice.randrange(3)}"])
        with pytest.raises(Refusal) as caught:
            iam.sign_in("acme", user, Secret(b"wrong"), source, "r", shown)
        assert caught.value.code in ("NotAuthenticated", "TooManyAttempts")
        region.clock.advance(dice.choice([0, 0, 0, 1, 30]))
    source = dice.choice(["192.0.2.1", "203.0.113.9"])
    assert iam.sign_in("acme", "admin", RIGHT, source, "r", device).token


def test_a_user_that_is_not_there_is_locked_as_one_that_is(region: DomainRegion) -> None:
    told = {}
    for user, source in (("admin", "198.18.1.1"), ("nobody", "198.18.2.1")):
        codes = []
        for _ in range(8):
            with pytest.raises(Refusal) as caught:
                region.iam.sign_in("acme", user, Secret(b"wrong"), source, "r")
            codes.append((caught.value.code, caught.value.message))
        told[user] = codes
    assert told["admin"] == told["nobody"]
    assert told["admin"][-1][0] == "TooManyAttempts"


def test_many_at_once_are_no_better_than_one_after_another(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    region = make_region(tmp_path)

    def attempt(_: int) -> str:
        try:
            region.iam.sign_in("acme", "admin", Secret(b"wrong"), "198.18.3.1", "r")
        except Refusal as refusal:
            return refusal.code
        return ""

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(attempt, range(16)))
    assert codes.count("NotAuthenticated") == FREE["place"]


def test_rows_are_bounded(region: DomainRegion) -> None:
    with region.store.note() as tx:
        rows: SqlFactorRows = tx.factors
        for number in range(30):
            at = NOW + timedelta(seconds=number)
            rows.set_budget(Budget(bytes([number]), "source", 1, at, at))
        rows.trim_budgets(NOW - timedelta(days=1), 10)
        assert rows.budget("source", bytes([29])) is not None and rows.budget("source", bytes([3])) is None
