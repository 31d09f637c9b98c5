"""What is looked at before something is done to a key."""

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import Region


@pytest.fixture
def keyed(signed_in: Keystead) -> Keystead:
    assert signed_in("vault", "create", "prod").code == 0
    assert signed_in("key", "create", "finance", "--vault", "prod").code == 0
    return signed_in


def test_what_needs_a_key(keyed: Keystead) -> None:
    ran = keyed("key", "inventory", "finance")
    assert "database system  flights" in ran.out and "1, 2" in ran.out
    assert "backup           (you may not see it)" in ran.out
    assert "needed by 2" in ran.out
    assert "3 x state backup, last by olivia: outlives the key's destruction" in ran.out
    assert keyed("key", "inventory", "finance", "--json").json["needed_by"] == 2
    assert "finance" in keyed("vault", "inventory", "prod").out


def test_what_an_act_would_stop(keyed: Keystead) -> None:
    ran = keyed("key", "impact", "finance", "--if", "disable")
    assert "at once  database system  flights" in ran.out and "undone by: keystead key enable finance" in ran.out
    assert "who else may: ada, grace" in ran.out and "for ever" not in ran.out
    assert "for ever from" in keyed("key", "impact", "finance", "--if", "delete").out
    assert keyed("key", "impact", "finance", "--if", "sell").code == 2
    assert keyed("key", "impact", "finance").code == 2


def test_how_a_key_is_used(keyed: Keystead, region: Region) -> None:
    ran = keyed("key", "usage", "finance", "--days", "7")
    assert "ada  Encrypt" in ran.out and "7 calls since" in ran.out
    assert region.last("GET", "/keys/{key_id}/usage").target.endswith("?days=7")


def test_the_count_goes_with_the_request(keyed: Keystead, region: Region) -> None:
    assert keyed("key", "schedule-deletion", "finance", "--confirm-needed-by", "3").code == 0
    assert region.last("POST", "/keys/{key_id}/actions/{verb}").target.endswith("?confirm_needed_by=3")
    assert keyed("key", "delete", "finance", "-y").code == 0
    assert "?" not in region.last("DELETE", "/keys/{key_id}").target
