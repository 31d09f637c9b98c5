"""Systems' own identities on their machine: there while the server runs, renewed in time, gone with it."""

import base64
import json
from itertools import cycle, pairwise
from typing import Any

import pytest
from tests.fakes.node import LocalHost
from tests.host.stage import Stage, idle, quiet
from tests.refusals import refused

from keystead.core.clock import ManualClock
from keystead.core.errors import Fault, Unavailable
from keystead.core.secret import Secret
from keystead.crypto import requestkey
from keystead.crypto.proofkey import PublicJwk
from keystead.databases.desk import OwnToken
from keystead.host.identities import LONGEST_RETRY_SECONDS, REFUSED_SECONDS, RETRY_SECONDS, Identities
from keystead.iam.model import Caller

HALF = 15 * 60.0
KEYS = tuple(requestkey.generate().reveal() for _ in range(2))


@pytest.fixture(autouse=True)
def few_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one takes long; a new one is another than the last."""
    made = cycle(KEYS)
    monkeypatch.setattr(requestkey, "generate", lambda: Secret(next(made)))


@pytest.fixture
def identities(stage: Stage) -> Identities:
    """As `host` has them, but no thread: the tests say when it looks."""
    return renewed_host(stage)


def renewed_host(stage: Stage) -> Identities:
    """Another life of `host`, on the same machine."""
    stage.host = quiet(LocalHost(stage.region, stage.host.machine))
    stage.host.identities = made = Identities(stage.host.desk, "test", stage.region.clock, lambda *_, **__: None)
    return made


def offered(stage: Stage) -> tuple[str, bytes] | None:
    return stage.host.machine.identities.get(stage.system)


def token_of(stage: Stage) -> str:
    found = offered(stage)
    assert found is not None
    return found[0]


def enter(stage: Stage) -> Caller:
    """Whoever reads the files calls the region."""
    found = offered(stage)
    assert found is not None
    return enter_with(stage, found)


def enter_with(stage: Stage, files: tuple[str, bytes]) -> Caller:
    public = PublicJwk.from_pem(requestkey.public_of(Secret(files[1])))
    return stage.region.iam.authenticate(files[0], "192.0.2.1", "r", lambda key: key == public)


def test_a_system_that_runs_can_call_the_region_as_itself(stage: Stage, identities: Identities) -> None:
    stage.keeper.apply("prepare", idle, {})
    identities.tend()
    assert offered(stage) is None, "its server does not run yet"
    stage.run()
    identities.tend()
    caller = enter(stage)
    assert (caller.principal.id, caller.principal.type, caller.key_bound) == (stage.system, "mysqldbsystem", True)


def test_the_token_names_its_resource_as_oci_does(stage: Stage, identities: Identities) -> None:
    stage.run()
    identities.tend()
    body = token_of(stage).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert (claims["res_tenant"], claims["res_compartment"]) == (stage.region.tenancy, stage.things.compartment)


def test_it_is_renewed_at_half_time_with_the_same_key(stage: Stage, identities: Identities) -> None:
    stage.run()
    identities.tend()
    first = offered(stage)
    assert first is not None
    stage.region.clock.advance(HALF - 1)
    identities.tend()
    assert offered(stage) == first
    stage.region.clock.advance(1)
    identities.tend()
    second = offered(stage)
    assert second is not None
    assert (second[0] == first[0], second[1] == first[1]) == (False, True)
    enter(stage)


def test_while_the_region_is_away_the_last_token_stays_and_renewal_goes_on(
    stage: Stage, identities: Identities
) -> None:
    stage.run()
    identities.tend()
    first = offered(stage)
    stage.host.desk.gone = True
    stage.region.clock.advance(HALF)
    identities.tend()
    assert offered(stage) == first
    enter(stage)
    stage.host.desk.gone = False
    stage.region.clock.advance(RETRY_SECONDS)
    identities.tend()
    assert offered(stage) != first
    enter(stage)


def test_two_systems_are_asked_for_while_there_is_no_answer() -> None:
    desk = Desk(broken={name: Unavailable("DeskUnavailable", "no") for name in "abcd"})
    many, clock = of_many(desk, "abcd")
    many.tend()
    assert desk.asked == ["a", "b"]
    clock.advance(1)
    many.tend()
    assert desk.asked == ["a", "b", "c", "d"]


class Desk:
    """Answers for all but those that are broken, and keeps who was asked for."""

    def __init__(self, broken: dict[str, Exception]) -> None:
        self.broken = broken
        self.asked: list[str] = []

    def issue_session(self, system: str, public_key: str) -> OwnToken:
        self.asked.append(system)
        if system in self.broken:
            raise self.broken[system]
        return OwnToken(f"of {system}", 2 * HALF)


class Files:
    """A node's files."""

    token = ""

    def offer_identity(self, token: str, key: Secret, region: str) -> None:
        self.token = token

    def offered_key(self) -> Secret | None:
        return None

    def withdraw_identity(self) -> None:
        self.token = ""


def of_many(desk: Desk, names: str) -> tuple[Identities, ManualClock]:
    clock = ManualClock()
    made = Identities(desk, "test", clock, lambda *_, **__: None)
    for name in names:
        made.open(name, Files(), None)
    return made, clock


@pytest.fixture
def no_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking a key's public half takes long, and `Desk` does not look at it."""
    monkeypatch.setattr(requestkey, "public_of", lambda _: "")


WRONG = (Unavailable("DeskUnavailable", "no"), Fault("Internal", "no"), OSError("disk"), ValueError("bug"))


@pytest.mark.parametrize("wrong", WRONG, ids=lambda error: type(error).__name__)
def test_one_that_is_broken_delays_nobody_and_is_asked_for_less_and_less(wrong: Exception, no_halves: None) -> None:
    desk = Desk(broken={"a": wrong})
    many, clock = of_many(desk, "abcd")
    at, start = [], clock.monotonic()
    while clock.monotonic() < start + HALF:
        desk.asked.clear()
        many.tend()
        if clock.monotonic() == start:
            assert desk.asked == list("abcd"), "in the same round"
        elif "a" in desk.asked:
            at.append(clock.monotonic() - start)
        clock.advance(1)
    assert at[:4] == [5, 15, 35, 75]
    assert {later - sooner for sooner, later in pairwise(at[3:])} == {LONGEST_RETRY_SECONDS}
    desk.asked.clear()
    many.tend()
    assert desk.asked[:3] == list("bcd"), "those that work go before"
    del desk.broken["a"]
    clock.advance(LONGEST_RETRY_SECONDS)
    for _ in range(2):
        desk.asked.clear()
        many.tend()
        assert "a" in desk.asked
        clock.advance(HALF)


def test_however_many_are_broken_the_others_are_renewed_in_time(no_halves: None) -> None:
    names = [f"n{number}" for number in range(30)]
    desk = Desk(broken=dict.fromkeys(names[:25], WRONG[0]))
    many, clock = of_many(desk, "")
    for name in names:
        many.open(name, Files(), None)
    for _ in range(60):  # whoever has not failed yet is asked in turn
        many.tend()
        clock.advance(1)
    for _ in range(3):
        clock.advance(HALF)
        desk.asked.clear()
        many.tend()
        assert desk.asked[:5] == names[25:]


def test_the_next_life_of_host_goes_on_with_the_key_that_is_offered(stage: Stage, identities: Identities) -> None:
    stage.run()
    identities.tend()
    first = offered(stage)
    assert first is not None
    second_life = renewed_host(stage)
    assert stage.keeper is not None
    assert offered(stage) == first, "nobody is without a token meanwhile"
    second_life.tend()
    second = offered(stage)
    assert second is not None
    assert (second[0] == first[0], second[1] == first[1]) == (False, True)


def test_what_a_dead_server_had_is_taken_away_by_the_next_life_of_host(stage: Stage, identities: Identities) -> None:
    stage.run()
    identities.tend()
    stage.host.machine.processes[stage.system].dead = True
    renewed_host(stage)
    assert stage.keeper is not None
    assert offered(stage) is None


@pytest.mark.parametrize("silence", [0.0, 20.0], ids=["heard", "silent"])
def test_what_a_server_had_that_died_is_taken_away_whether_or_not_it_starts_again(
    stage: Stage, identities: Identities, silence: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run()
    identities.tend()
    keeper, node = stage.keeper, stage.node
    node.machine.processes[stage.system].dead = True

    def no(*_: object) -> None:
        raise Unavailable("ServerDidNotStart", "no")

    monkeypatch.setattr(node, "start", no)
    keeper.reconcile(stage.standing(silence))
    assert offered(stage) is None
    assert not stage.host.endpoint.answers(stage.mount)


@pytest.mark.parametrize("end", ["stop", "discard", "fence", "forget", "identity"])
def test_it_is_gone_with_what_it_rests_upon(stage: Stage, identities: Identities, end: str) -> None:
    stage.run()
    identities.tend()
    assert offered(stage) is not None
    keeper = stage.keeper
    match end:
        case "stop" | "discard":
            keeper.apply(end, idle, {})
        case "fence":
            keeper.fence("disabled", "the key is disabled", None)
        case "forget":
            keeper.forget()
        case _:
            stage.region.databases.delete_identity(stage.region.admin, stage.system)
            stage.reconcile()
    assert offered(stage) is None
    stage.region.clock.advance(HALF)
    identities.tend()
    assert offered(stage) is None, "and none is brought back"


@pytest.mark.parametrize("why", ["disabled", "silent"])
def test_whoever_copied_the_files_has_nothing_from_the_fence_on(stage: Stage, identities: Identities, why: str) -> None:
    stage.run()
    identities.tend()
    copied = offered(stage)
    assert copied is not None
    stage.region.clock.advance(1)
    if why == "disabled":
        stage.disable()
        assert refused(lambda: enter_with(stage, copied)).code == "NotAuthenticated"
    stage.reconcile(1000.0)
    stage.assert_fenced()
    assert refused(lambda: enter_with(stage, copied)).code == "NotAuthenticated"
    if why == "disabled":
        stage.enable()
    stage.region.clock.advance(1)
    stage.reconcile()
    stage.reconcile()
    assert stage.node.running()
    identities.tend()
    enter(stage)
    assert refused(lambda: enter_with(stage, copied)).code == "NotAuthenticated"


def test_a_token_that_comes_after_the_fence_is_not_put_there(stage: Stage, identities: Identities) -> None:
    stage.run()

    def fence(call: str) -> None:
        if call == "issued":
            stage.host.keepers[stage.system].fence("disabled", "the key is disabled", None)

    stage.host.desk.asked = fence
    identities.tend()
    assert offered(stage) is None


def test_after_a_revocation_another_is_there_at_once(stage: Stage, identities: Identities) -> None:
    stage.run()
    stage.reconcile()
    identities.tend()
    first = offered(stage)
    stage.region.databases.revoke_tokens(stage.region.admin, stage.system)
    assert refused(lambda: enter(stage)).code == "NotAuthenticated"
    stage.region.clock.advance(0.001)
    stage.reconcile()
    identities.tend()
    assert offered(stage) != first
    enter(stage)


def test_when_every_token_is_voided_another_is_there_at_once(stage: Stage, identities: Identities) -> None:
    stage.run()
    stage.reconcile()
    identities.tend()
    first = offered(stage)
    stage.region.iam.rotate_token_keys(stage.region.admin, at_once=True)
    assert refused(lambda: enter(stage)).code == "NotAuthenticated"
    stage.region.clock.advance(0.001)
    stage.reconcile()
    identities.tend()
    assert offered(stage) != first
    enter(stage)


def test_a_no_takes_away_what_is_there_and_is_asked_again_later(stage: Stage, identities: Identities) -> None:
    stage.run()
    identities.tend()
    stage.region.databases.delete_identity(stage.region.admin, stage.system)
    stage.region.clock.advance(HALF)
    identities.tend()
    assert offered(stage) is None
    stage.region.databases.restore_identity(stage.region.admin, stage.system)
    identities.tend()
    assert offered(stage) is None
    stage.region.clock.advance(REFUSED_SECONDS)
    identities.tend()
    enter(stage)


def test_a_machine_that_is_not_known_for_the_moment_takes_nothing_away(stage: Stage, identities: Identities) -> None:
    stage.run()
    identities.tend()
    first = offered(stage)

    def unknown(call: str) -> None:
        if call == "issue_session":
            raise refused(lambda: stage.region.iam.authenticate("no", "x", "r"))

    stage.host.desk.asked = unknown
    stage.region.clock.advance(HALF)
    identities.tend()
    assert offered(stage) == first


def test_a_key_that_cannot_be_read_is_made_anew(stage: Stage, identities: Identities) -> None:
    stage.run()
    stage.host.machine.identities[stage.system] = ("", b"not a key")
    identities.tend()
    enter(stage)


def test_a_fence_between_the_start_and_the_first_token_leaves_none(
    stage: Stage, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.keeper.apply("prepare", idle, {})
    opens = identities.open

    def fenced_first(*given: Any) -> None:
        stage.keeper._take_keys("key_disabled", "the key was disabled")
        opens(*given)

    monkeypatch.setattr(identities, "open", fenced_first)
    assert refused(lambda: stage.keeper.apply("start", idle, {})).code == "AccessLost"
    identities.tend()
    assert offered(stage) is None


def test_what_is_wrong_with_one_is_not_the_end_for_the_others(
    stage: Stage, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.run()
    monkeypatch.setattr(requestkey, "public_of", lambda _key: 1 // 0)
    identities.tend()
    assert offered(stage) is None
    monkeypatch.undo()
    stage.region.clock.advance(RETRY_SECONDS)
    identities.tend()
    assert offered(stage) is not None
