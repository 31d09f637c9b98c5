"""Asked twice, a command succeeds twice; what is in another state than the wanted one is still refused."""

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import Region

pytestmark = pytest.mark.slow


@pytest.fixture
def furnished(signed_in: Keystead) -> Keystead:
    """With key `finance` in vault `prod`, and database system `flights` under it."""
    assert signed_in("vault", "create", "prod").code == 0
    assert signed_in("key", "create", "finance", "--vault", "prod").code == 0
    assert signed_in("db", "create", "flights", "--key", "finance").code == 0
    return signed_in


@pytest.mark.parametrize(
    ("before", "command", "said"),
    [
        ((), "key enable finance", "key finance is ENABLED already"),
        (("key disable finance",), "key disable finance", "key finance is DISABLED already"),
        (("key disable finance",), "key cancel-deletion finance", "key finance is DISABLED already"),
        (("key disable finance",), "key recover finance", "key finance is DISABLED already"),
        (
            ("key schedule-deletion finance",),
            "key schedule-deletion finance",
            "PENDING_DELETION already, to be deleted",
        ),
        (("key delete finance -y",), "key delete finance -y", "key finance is DELETED already, recoverable until"),
        ((), "vault cancel-deletion prod", "vault prod is ACTIVE already"),
        ((), "vault recover prod", "vault prod is ACTIVE already"),
        (("vault schedule-deletion prod",), "vault schedule-deletion prod", "vault prod is PENDING_DELETION already"),
        (("vault delete prod -y",), "vault delete prod -y", "vault prod is DELETED already, recoverable until"),
        ((), "db start flights", "database system flights is ACTIVE already"),
        (("db stop flights",), "db stop flights", "database system flights is INACTIVE already"),
    ],
)
def test_what_is_so_already_is_said(furnished: Keystead, before: tuple[str, ...], command: str, said: str) -> None:
    for first in before:
        assert furnished(*first.split()).code == 0
    ran = furnished(*command.split())
    assert (ran.code, ran.err) == (0, "")
    assert said in ran.out
    shown = furnished(*command.split(), "--json")
    assert shown.code == 0
    assert shown.json.get("db_system", shown.json)["state"] in ran.out


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ("key schedule-deletion finance", "key enable finance"),
        ("key enable finance", "key recover finance"),
        ("key schedule-deletion finance", "key schedule-deletion finance --days 7"),
        ("vault show prod", "vault purge prod -y"),
        ("key delete finance -y", "key cancel-deletion finance"),
    ],
)
def test_what_is_not_so_is_refused(furnished: Keystead, before: str, command: str) -> None:
    assert furnished(*before.split()).code == 0
    ran = furnished(*command.split())
    assert (ran.code, ran.out) == (5, "")
    assert "[IllegalState]" in ran.err


def test_versions_too(furnished: Keystead, region: Region) -> None:
    region.plan("POST", ".*/versions/.*/enable", 409, "IllegalState", "it cannot enable")
    ran = furnished("key", "enable-version", "finance", "1")
    assert (ran.code, ran.out) == (0, "version 1 of key finance is ENABLED already\n")
    region.plan("POST", ".*/versions/.*/disable", 409, "IllegalState", "it cannot disable")
    assert furnished("key", "disable-version", "finance", "1").code == 5


def test_what_is_deleted_and_needed_is_deleted(furnished: Keystead, region: Region) -> None:
    needed = ("DELETE", "/keys/ks1[^/]*", 409, "StillNeeded", "key 'finance' is still needed by 1: backup 'monday'")
    region.plan(*needed)
    assert furnished("key", "delete", "finance", "-y").code == 5
    assert furnished("key", "delete", "finance", "-y").code == 0
    region.plan(*needed)
    assert "DELETED already" in furnished("key", "delete", "finance", "-y").out


def test_somebody_elses_change_is_no_such_case(furnished: Keystead, region: Region) -> None:
    assert furnished("key", "disable", "finance").code == 0
    region.plan("POST", ".*/actions/disable", 412, "Stale", "it was changed meanwhile")
    ran = furnished("key", "disable", "finance", "--if-match", "1")
    assert (ran.code, "[Stale]" in ran.err) == (5, True)


def test_who_may_not_look_gets_the_refusal(furnished: Keystead, region: Region) -> None:
    assert furnished("key", "disable", "finance").code == 0
    region.plan("GET", "/keys/ks1[^/]*", 404, "NotFound", "you may not see it")
    ran = furnished("key", "disable", "finance")
    assert (ran.code, "[IllegalState]" in ran.err) == (5, True)
