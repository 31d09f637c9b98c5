"""Keys of another tenancy: absent, until both tenancies let somebody use them, and absent again when one does not."""

from pathlib import Path

import pytest
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.iam.model import Caller, Policy


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


def shared_key(region: DomainRegion) -> str:
    vault = region.vaults.create_vault(region.admin, region.tenancy, "main")
    region.snapshot.refresh()
    return region.vaults.create_key(region.admin, region.tenancy, vault.id, "shared").id


def let_in(region: DomainRegion, other: Caller, verb: str = "use") -> tuple[Policy, Policy]:
    """Endorsed there, admitted here."""
    away = other.principal.tenancy
    endorsed = region.iam.create_policy(
        other, away, "out", (f"Define tenancy A as {region.tenancy}", f"Endorse any-user to {verb} keys in tenancy A")
    )
    admitted = region.allow(f"Define tenancy B as {away}", f"Admit any-user of tenancy B to {verb} keys in tenancy")
    return endorsed, admitted


def absent(region: DomainRegion, caller: Caller, key: str) -> bool:
    with pytest.raises(Refusal) as caught:
        region.vaults.encrypt(caller, key, b"words")
    return caught.value.kind == "not_found"


def test_a_key_is_used_across_when_both_let_it(region: DomainRegion) -> None:
    other, key = region.new_tenancy("globex"), shared_key(region)
    assert absent(region, other, key)
    endorsed, _ = let_in(region, other)
    sealed = region.vaults.encrypt(other, key, b"words").blob
    assert region.journal.entries[-1].tenancy == region.tenancy, "whose key it is learns of it"
    assert region.vaults.decrypt(region.admin, key, sealed) == b"words"
    with pytest.raises(Refusal):
        region.vaults.rotate(other, key)
    region.iam.delete_policy(other, endorsed.id)
    assert absent(region, other, key)


def test_who_admits_can_take_it_back(region: DomainRegion) -> None:
    other, key = region.new_tenancy("globex"), shared_key(region)
    _, admitted = let_in(region, other)
    assert region.vaults.encrypt(other, key, b"words")
    region.iam.delete_policy(region.admin, admitted.id)
    assert absent(region, other, key)


def test_a_third_tenancy_sees_nothing_of_it(region: DomainRegion) -> None:
    other, third, key = region.new_tenancy("globex"), region.new_tenancy("initech"), shared_key(region)
    let_in(region, other)
    assert absent(region, third, key)
