"""Every refusal names the way out: which permission and statement, which region, who moved it when, how to undo it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.clock import isoformat
from keystead.core.errors import Refusal
from keystead.core.ids import new_id
from keystead.core.page import PageRequest
from keystead.databases.creation import NewSystem
from keystead.iam.model import Caller

ALL = PageRequest(10)


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


@pytest.fixture
def key(region: DomainRegion) -> str:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "v").id
    return region.vaults.create_key(region.admin, region.tenancy, vault, "k").id


def refusal(act: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as found:
        act()
    return found.value


@pytest.mark.parametrize(
    ("kind", "act"),
    [
        ("key", lambda r, c, i: r.vaults.get_key(c, i)),
        ("key", lambda r, c, i: r.vaults.encrypt(c, i, b"x")),
        ("key", lambda r, c, i: r.databases.create(c, NewSystem(r.tenancy, "s", i))),
        ("vault", lambda r, c, i: r.vaults.get_vault(c, i)),
        ("vault", lambda r, c, i: r.vaults.create_key(c, r.tenancy, i, "new")),
        ("compartment", lambda r, c, i: r.vaults.list_keys(c, i, ALL)),
        ("mysqldbsystem", lambda r, c, i: r.databases.start(c, i)),
        ("mysqlbackup", lambda r, c, i: r.databases.get_backup(c, i)),
    ],
)
def test_an_id_of_another_region_says_which(
    region: DomainRegion, kind: str, act: Callable[[DomainRegion, Caller, str], object]
) -> None:
    found = refusal(lambda: act(region, region.admin, new_id(kind, "oslo")))  # type: ignore[arg-type]
    assert (found.code, found.kind) == ("WrongRegion", "not_found")
    assert found.message == f"this is the id of a {kind} in region 'oslo'; you are asking region 'home'"
    assert "ask region oslo" in found.hint
    assert refusal(lambda: act(region, region.admin, new_id(kind, "home"))).code == "NotFound"  # type: ignore[arg-type]


def test_a_missing_permission_is_named_with_the_statement_that_grants_it(region: DomainRegion, key: str) -> None:
    ada = region.user("ada", "DBAs")
    region.allow("Allow group DBAs to inspect keys in tenancy")
    found = refusal(lambda: region.vaults.rotate(ada, key))
    assert (found.code, found.message) == ("NotAuthorized", "ada lacks KEY_ROTATE on key 'k'")
    region.allow(found.hint.partition(": ")[2])
    assert region.vaults.rotate(ada, key).current == 2


def test_keys_that_are_not_listed_say_what_is_missing_to_who_may_see_the_place(region: DomainRegion, key: str) -> None:
    ada = region.user("ada", "DBAs")
    assert refusal(lambda: region.vaults.list_keys(ada, region.tenancy, ALL)).kind == "not_found"
    region.allow("Allow group DBAs to inspect compartments in tenancy")
    found = refusal(lambda: region.vaults.list_keys(ada, region.tenancy, ALL))
    assert (found.code, "ada lacks KEY_INSPECT on keys in compartment" in found.message) == ("NotAuthorized", True)
    region.allow(found.hint.partition(": ")[2])
    assert [each.name for each in region.vaults.list_keys(ada, region.tenancy, ALL).items] == ["k"]


@pytest.mark.parametrize(
    ("move", "undo"),
    [("disable", "key enable k"), ("schedule_deletion", "key cancel-deletion k"), ("delete", "key recover k")],
)
def test_a_wrong_state_says_who_when_and_how_to_undo_it(region: DomainRegion, key: str, move: str, undo: str) -> None:
    olga = region.user("olga", "Officers")
    region.allow("Allow group Officers to manage keys in tenancy")
    at = region.clock.now()
    state = getattr(region.vaults, move)(olga, key).state
    region.clock.advance(60)
    used = refusal(lambda: region.vaults.encrypt(region.admin, key, b"x"))
    assert f"key 'k' is {state} since {isoformat(at)} (by olga)" in used.message and undo in used.hint
    moved = refusal(lambda: getattr(region.vaults, move)(region.admin, key))
    assert moved.message.startswith(f"key 'k' is {state} since {isoformat(at)} (by olga): it cannot")
    assert moved.hint.startswith(f"from {state} it can:")
