"""A refused sign-in does the same work whoever is named: the same statements, one Argon2id. No clock is looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from tests.web.region import Region, open_region

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.iam.auth_tokens import PREFIX

pytestmark = pytest.mark.slow


class Counting:
    """A hasher that notes how often it was asked."""

    def __init__(self) -> None:
        self.computed = 0

    def hash(self, password: Secret) -> str:
        return "hash"

    def verify(self, encoded: str, password: Secret) -> bool:
        self.computed += 1
        return False

    def decoy(self, password: Secret) -> bool:
        self.computed += 1
        return False


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return open_region(tmp_path)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(sa.Engine, "before_cursor_execute", note)
    yield found
    event.remove(sa.Engine, "before_cursor_execute", note)


def refused(region: Region, statements: list[str], tenancy: str, name: str) -> tuple[list[str], int]:
    """The statements of a sign-in with a wrong password from a network of its own, and how often Argon2id is done."""
    hasher = Counting()
    region.services.iam._hasher = hasher  # type: ignore[attr-defined]
    statements.clear()
    region.clock.advance(86_400)
    with pytest.raises(Refusal) as caught:
        region.services.iam.sign_in(tenancy, name, Secret(b"wrong"), "192.0.2.1", "r")
    assert caught.value.code == "NotAuthenticated"
    return list(statements), hasher.computed


def test_nobody_costs_what_somebody_does(region: Region, statements: list[str]) -> None:
    asked = [("acme", "nobody"), ("acme", "no-such"), ("acme", "root"), ("no-such", "no-such"), ("globex", "nobody")]
    for tenancy, name in asked:  # each name has a budget by now
        refused(region, statements, tenancy, name)
    somebody, *others = (refused(region, statements, tenancy, name) for tenancy, name in asked)
    assert somebody[1] == 1 and len(somebody[0]) > 10
    for each in others:
        assert each == somebody


@pytest.mark.parametrize("way", ["authenticate_auth_token", "sign_in_with_auth_token"])
def test_an_auth_token_that_is_not_there_costs_what_a_wrong_one_does(
    region: Region, statements: list[str], way: str
) -> None:
    caller = region.caller()
    _, text = region.services.iam.create_auth_token(caller, caller.principal.id, way)
    unique, _, secret = text.reveal().decode().removeprefix(PREFIX).partition("_")
    found = []
    for given in (f"{PREFIX}{unique}_{secret[:-4]}aaaa", f"{PREFIX}{unique[:-4]}aaaa_{secret}"):
        statements.clear()
        who = (caller.principal.id,) if way.startswith("sign") else ()
        with pytest.raises(Refusal) as caught:
            getattr(region.services.iam, way)(*who, Secret(given.encode()), "192.0.2.1", "r")
        assert caught.value.code == "NotAuthenticated"
        found.append(list(statements))
    assert found[0] == found[1] and found[0]
