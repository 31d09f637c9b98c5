"""Questions about policies, and what they do not reveal."""

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> DomainRegion:
    region = make_region(tmp_path_factory.mktemp("template"))
    prod = region.iam.create_compartment(region.admin, region.tenancy, "Prod")
    region.iam.create_compartment(region.admin, region.tenancy, "Dev")
    region.snapshot.refresh()
    vault = region.vaults.create_vault(region.admin, prod.id, "main")
    region.vaults.create_key(region.admin, prod.id, vault.id, "finance")
    region.user("ann", "Dba")
    region.user("bob", "Auditors")
    region.allow("Allow group Dba to use keys in compartment Prod", name="dba")
    region.allow("Allow group Auditors to read policies in tenancy", name="auditors")
    region.snapshot.refresh()
    return region


def place(region: DomainRegion, name: str) -> str:
    found = region.snapshot.directory.compartments_of(region.tenancy)
    return next(each.id for each in found if each.name == name)


def user(region: DomainRegion, name: str) -> str:
    return next(each.id for each in region.snapshot.directory.users_in(region.tenancy) if each.name == name)


def key(region: DomainRegion) -> str:
    return next(entry.key.id for entry in region.snapshot.keyring.entries() if entry.key.name == "finance")


def test_explanations_name_the_statement(region: DomainRegion) -> None:
    told = region.insight.explain(region.admin, user(region, "ann"), "KEY_DECRYPT", key(region))
    assert told.allowed and told.statement is not None and told.statement.text.startswith("Allow group Dba")
    told = region.insight.explain(region.admin, user(region, "ann"), "KEY_DECRYPT", place(region, "Dev"))
    assert not told.allowed and told.reasons == ("no statement grants KEY_DECRYPT here to this principal",)
    assert "it holds in another compartment" in [each.why for each in told.considered]
    region.allow("Deny any-user to use keys in compartment Prod where request.user.name = 'ann'")
    told = region.insight.explain(region.admin, user(region, "ann"), "use keys", place(region, "Prod"))
    assert not told.allowed and told.statement is not None and told.statement.text.startswith("Deny")
    with pytest.raises(Refusal, match="is not an action") as caught:
        region.insight.explain(region.admin, user(region, "ann"), "KEY_DECRIPT", key(region))
    assert "KEY_DECRYPT" in caught.value.hint


def test_who_can(region: DomainRegion) -> None:
    holders = region.insight.who_can(region.admin, "KEY_DECRYPT", key(region))
    assert [each.principal.name for each in holders] == ["admin", "ann"]
    holders = region.insight.who_can(region.admin, "manage keys", key(region))
    assert [each.principal.name for each in holders] == ["admin"]
    region.allow("Allow group Auditors to read keys in tenancy where request.networkSource.name = 'office'")
    assert "bob" not in [each.principal.name for each in region.insight.who_can(region.admin, "KEY_READ", key(region))]


def test_nothing_is_revealed_that_could_not_be_inspected(region: DomainRegion) -> None:
    from dataclasses import replace

    directory = region.snapshot.directory
    bob = replace(region.admin, principal=directory.principal(user(region, "bob")))  # type: ignore[arg-type]
    for thing in (key(region), place(region, "Prod")):
        with pytest.raises(Refusal) as caught:
            region.insight.who_can(bob, "KEY_DECRYPT", thing)
        assert caught.value.kind == "not_found"
    region.allow("Allow group Auditors to inspect all-resources in compartment Prod")
    assert [each.principal.name for each in region.insight.who_can(bob, "KEY_DECRYPT", key(region))] == []
    with pytest.raises(Refusal) as caught:
        region.insight.explain(bob, user(region, "ann"), "KEY_DECRYPT", key(region))
    assert caught.value.kind == "not_found"
    region.allow("Allow group Auditors to inspect users in tenancy")
    assert [each.principal.name for each in region.insight.who_can(bob, "KEY_DECRYPT", key(region))] == ["admin", "ann"]


def test_a_change_is_seen_before_it_is_made(region: DomainRegion) -> None:
    policy = next(each for each in region.snapshot.directory.sources(region.tenancy) if "Dba" in each.statements[0])
    found = region.insight.simulate(
        region.admin, region.tenancy, ("Allow group Dba to read keys in compartment Dev",), policy.policy_id
    )
    told = {(each.opens, each.permission, each.target_name) for each in found.differences}
    assert (True, "KEY_READ", "Dev") in told and (False, "KEY_DECRYPT", "finance") in told
    assert {each.principal.name for each in found.differences} == {"ann"}
    assert region.insight.simulate(region.admin, region.tenancy, policy.statements, policy.policy_id).differences == ()
    opened = next(each for each in found.differences if each.opens)
    assert opened.now is None and opened.then is not None
    assert (opened.then.policy_id, opened.then.number) == (policy.policy_id, 1)
    closed = next(each for each in found.differences if not each.opens)
    assert closed.then is None and closed.now is not None and closed.now.text == policy.statements[0]
    gone = region.insight.simulate(region.admin, region.tenancy, (), policy.policy_id)
    assert gone.differences and not any(each.opens for each in gone.differences)
    before = region.snapshot.refresh()
    assert region.snapshot.refresh() == before, "nothing was changed"


def test_a_denial_is_named_as_what_closes_and_what_would_open_again(region: DomainRegion) -> None:
    deny = "Deny group Dba to use keys in tenancy"
    found = region.insight.simulate(region.admin, region.tenancy, (deny,)).differences
    assert found and not any(each.opens for each in found)
    for each in found:
        assert each.now is not None and "Allow group Dba" in each.now.text
        assert each.then is not None and (each.then.policy_id, each.then.text) == ("", deny)
    policy = region.allow(deny)
    region.snapshot.refresh()
    lifted = region.insight.simulate(region.admin, region.tenancy, (), policy.id).differences
    assert {(each.permission, each.target_id) for each in lifted} == {
        (each.permission, each.target_id) for each in found
    }
    for each in lifted:
        assert each.opens and each.now is not None and each.now.policy_id == policy.id
        assert each.then is not None and "Allow group Dba" in each.then.text


def test_what_is_granted_and_never_used(region: DomainRegion) -> None:
    from dataclasses import replace

    ann = replace(region.admin, principal=region.snapshot.directory.principal(user(region, "ann")))  # type: ignore[arg-type]
    region.vaults.encrypt(ann, key(region), b"words")
    found = next(each for each in region.insight.unused(region.admin, 30) if "Dba" in each.statement.text)
    assert found.used == ("KEY_ENCRYPT",) and "KEY_DECRYPT" in found.unused
    region.clock.advance(31 * 86400)
    found = next(each for each in region.insight.unused(region.admin, 30) if "Dba" in each.statement.text)
    assert found.used == ()


def test_duties_that_meet(region: DomainRegion) -> None:
    assert [each.principal.name for each in region.insight.duties(region.admin)] == ["admin"]
    region.allow("Allow group Dba to manage mysql-instances in compartment Dev")
    met = region.insight.duties(region.admin)
    assert [each.principal.name for each in met] == ["admin", "ann"]
    assert met[1].key_place == "Prod" and met[1].database_place == "Dev"


def test_what_would_cross_is_said_by_statement_and_never_by_name(region: DomainRegion) -> None:
    other = region.new_tenancy("globex")
    region.snapshot.refresh()
    away = other.principal.tenancy
    ben = f"Define tenancy B as {away}"
    admits = "Admit any-user of tenancy B to use keys in tenancy"
    region.iam.create_policy(
        other, away, "out", (f"Define tenancy A as {region.tenancy}", "Endorse any-user to use keys in tenancy A")
    )
    found = region.insight.simulate(region.admin, region.tenancy, (ben, admits))
    assert [(each.effect, each.statement, each.opens) for each in found.crossings] == [("admit", admits, True)]
    assert not found.differences, "nothing changes for anybody here"
    assert "globex" not in str(found) and other.principal.id not in str(found)
    policy = region.allow(ben, admits)
    region.snapshot.refresh()
    closed = region.insight.simulate(region.admin, region.tenancy, (), policy.id)
    assert [(each.statement, each.opens) for each in closed.crossings] == [(admits, False)]
    same = region.insight.simulate(region.admin, region.tenancy, (ben, admits), policy.id)
    assert same.crossings == ()
    another = (f"Define tenancy B as {region.tenancy}", admits)
    renamed = region.insight.simulate(region.admin, region.tenancy, another, policy.id)
    assert [each.opens for each in renamed.crossings] == [True, False], "a name stands for another tenancy"
    denied = region.insight.simulate(region.admin, region.tenancy, (ben, f"Deny {admits[0].lower()}{admits[1:]}"))
    assert [each.opens for each in denied.crossings] == [False]
