"""Law 1, walked: every public method of every service, for the other tenancy, for nobody, with the journal broken."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.calls import DESK, INNER, SERVICES, Things, make_things, of_people
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Fault, KeysteadError, Refusal
from keystead.core.ids import CompartmentId, PrincipalId, TenancyId, new_id
from keystead.iam.actions import inspect_permission, kind_of
from keystead.iam.model import Caller, Principal

CALLS = dict(of_people())
EVERY = pytest.mark.parametrize("name", CALLS)
TAKES_ACCESS = {
    "vaults.disable",
    "vaults.schedule_deletion",
    "vaults.delete",
    "vaults.purge",
    "vaults.disable_version",
    "vaults.schedule_version_deletion",
    "vaults.move_key",
    "vaults.update_key",
    "vaults.schedule_vault_deletion",
    "vaults.delete_vault",
    "vaults.purge_vault",
    "iam.update_user",
    "iam.delete_user",
    "iam.revoke_user_tokens",
    "iam.reset_password",
    "iam.delete_auth_token",
    "iam.delete_api_key",
    "iam.delete_group",
    "iam.tag_compartment",
    "iam.tag_group",
    "iam.end_break_glass",
    "iam.remove_member",
    "iam.update_policy",
    "iam.delete_policy",
    "federation.update_identity_provider",
    "federation.delete_identity_provider",
    "federation.unlink_federated_user",
    "provisioning.replace_user",
    "provisioning.patch_user",
    "provisioning.delete_user",
    "provisioning.delete_group",
    "databases.delete_identity",
    "databases.tag_system",
    "databases.stop",
}


@dataclass
class World:
    """Two tenancies with one of everything, and somebody who may do nothing."""

    region: DomainRegion
    mine: Things
    other: Caller
    theirs: Things
    nobody: Caller

    def copied(self, directory: Path) -> "World":
        directory.mkdir(exist_ok=True)
        return replace(self, region=self.region.copy(directory))

    def generation(self) -> int:
        return self.region.snapshot.refresh()

    def recorded(self) -> set[str]:
        return {entry.id for entry in self.region.entries()}


def make_world(directory: Path) -> World:
    region = make_region(directory)
    mine = make_things(region, region.admin)
    other = region.new_tenancy("globex")
    region.snapshot.refresh()
    theirs = make_things(region, other)
    nobody = region.user("nobody")
    region.snapshot.refresh()
    return World(region, mine, other, theirs, nobody)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Never touched: the others are copies of it."""
    return make_world(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def shared(template: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """For walks that change nothing."""
    return template.copied(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    return template.copied(tmp_path)


def refusal(run: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        run()
    return caught.value


def said(error: KeysteadError) -> tuple[object, ...]:
    return error.code, error.message, error.hint, getattr(error, "kind", None), getattr(error, "recorded", None)


def test_the_walks_know_every_public_method() -> None:
    for name in SERVICES:
        service = DomainRegion.__annotations__[name]
        public = {each for each, _ in inspect.getmembers(service, inspect.isfunction) if not each.startswith("_")}
        assert public - INNER.get(name, frozenset()) == set(SERVICES[name])


def test_every_public_method_takes_the_caller_first() -> None:
    for name, calls in SERVICES.items():
        service = DomainRegion.__annotations__[name]
        for each in calls:
            assert list(inspect.signature(getattr(service, each)).parameters)[1] == "caller", f"{name}.{each}"


@EVERY
def test_the_other_tenancys_ids_are_answered_like_ids_of_nothing(shared: World, name: str) -> None:
    call = CALLS[name]
    generation = shared.generation()
    for field in call.uses:
        foreign = replace(shared.theirs, **{field: getattr(shared.mine, field)})
        absent = replace(shared.theirs, **{field: getattr(shared.mine.missing(), field)})
        seen = refusal(lambda ids=foreign: call.run(shared.region, shared.other, ids))
        unseen = refusal(lambda ids=absent: call.run(shared.region, shared.other, ids))
        assert said(seen) == said(unseen), field
        assert seen.kind == "not_found"
    if call.uses:
        assert shared.generation() == generation


@EVERY
def test_nobody_is_refused_and_it_is_recorded(shared: World, name: str) -> None:
    generation, before = shared.generation(), shared.recorded()
    seen = refusal(lambda: CALLS[name].run(shared.region, shared.nobody, shared.mine))
    assert seen.kind == "not_found"
    assert seen.recorded
    new = [entry for entry in shared.region.entries() if entry.id not in before]
    assert [(entry.outcome, entry.principal_id, entry.code) for entry in new] == [
        ("refused", shared.nobody.principal.id, seen.code)
    ]
    assert new[0].operation
    assert new[0].action
    assert shared.generation() == generation


@EVERY
def test_whoever_may_do_it_leaves_an_entry(world: World, name: str) -> None:
    call, region = CALLS[name], world.region
    call.prepare(region, world.mine)
    generation, before = world.generation(), world.recorded()
    call.run(region, region.admin, world.mine)
    new = [entry for entry in region.entries() if entry.id not in before]
    assert new
    assert all(entry.outcome in ("allowed", "succeeded") for entry in new)
    assert any(entry.principal_id == region.admin.principal.id for entry in new)
    assert (world.generation() > generation) == call.writes
    assert any(entry.generation for entry in new) == call.writes, "a change carries its entry, a read has none"


@EVERY
def test_with_a_broken_journal_access_can_be_taken_away_and_nothing_is_done_unrecorded(world: World, name: str) -> None:
    call, region = CALLS[name], world.region
    call.prepare(region, world.mine)
    generation, before = world.generation(), world.recorded()
    region.journal.broken = True
    try:
        call.run(region, region.admin, world.mine)
    except Fault as fault:
        assert fault.code == "AuditUnavailable"
        assert name not in TAKES_ACCESS
        assert world.generation() == generation
    else:
        assert call.writes, "what changes nothing has its entry in the journal alone"
        assert any(entry.generation for entry in region.entries() if entry.id not in before)


@pytest.mark.parametrize("name", DESK)
def test_the_desk_serves_only_the_machine_that_runs_the_system(shared: World, name: str) -> None:
    call, region = DESK[name], shared.region
    elsewhere = Caller(
        Principal(PrincipalId(new_id("machine", "home")), "service", "host", TenancyId(""), CompartmentId("")),
        "r",
    )
    if name == "watch":
        assert region.desk.watch(elsewhere).systems == []
        return
    seen = refusal(lambda: call.run(region, elsewhere, shared.mine))
    unseen = refusal(lambda: call.run(region, region.host(), shared.mine.missing()))
    assert said(seen) == said(unseen)


@pytest.mark.parametrize("name", DESK)
@pytest.mark.parametrize("who", ["admin", "nobody", "system", "other service"])
def test_the_desk_serves_no_one_but_the_host(shared: World, name: str, who: str) -> None:
    region = shared.region
    host = region.host()
    caller = {
        "admin": region.admin,
        "nobody": shared.nobody,
        "system": replace(host, principal=replace(host.principal, type="mysqldbsystem")),
        "other service": replace(host, principal=replace(host.principal, name="work")),
    }[who]
    refusal(lambda: DESK[name].run(region, caller, shared.mine))


@EVERY
def test_who_sees_a_thing_is_told_what_is_missing_and_others_are_not(
    template: World, tmp_path: Path, name: str
) -> None:
    """Each needed permission taken away in turn; with the statement that the refusal shows, the call succeeds."""
    call = CALLS[name]
    needed = permissions_asked(template.copied(tmp_path), name)
    assert needed
    for number, permission in enumerate(sorted(needed)):
        world = template.copied(tmp_path / str(number))
        region, person = world.region, world.region.user("person", "Team")
        run = partial(call.run, region, person, world.mine)
        call.prepare(region, world.mine)
        inspect_too = inspect_permission(kind_of(permission))
        hidden = needed - {permission, inspect_too}
        policy = region.allow(in_braces(hidden)) if hidden else None
        world.generation()
        assert refusal(run).kind == "not_found", permission
        if inspect_too in (permission, None):
            continue
        region.allow(in_braces({inspect_too}))
        if policy is not None:
            region.iam.update_policy(region.admin, policy.id, (in_braces(needed - {permission}),))
        seen = refusal(run)
        assert (seen.kind, seen.code, seen.recorded) == ("denied", "NotAuthorized", True)
        assert permission in seen.message
        region.allow(seen.hint.partition(": ")[2])
        run()


def permissions_asked(world: World, name: str) -> set[str]:
    """The permissions that an administrator is asked for in a call."""
    asked: set[str] = set()
    require = world.region.guard.require

    def listening(caller: Caller, permission: str, *rest: Any, **named: Any) -> None:
        if caller.principal.type == "user":
            asked.add(permission)
        require(caller, permission, *rest, **named)

    CALLS[name].prepare(world.region, world.mine)
    world.region.guard.require = listening  # type: ignore[method-assign]
    world.generation()
    CALLS[name].run(world.region, world.region.admin, world.mine)
    return asked


def in_braces(permissions: set[str]) -> str:
    return f"Allow group Team to {{{', '.join(sorted(permissions))}}} in tenancy"
