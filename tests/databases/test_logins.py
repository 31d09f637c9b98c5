"""Who is let in to a database: the table of what may be wrong with a login, and the key that a token is bound to."""

import base64
import json
import secrets
from pathlib import Path

import pytest
from tests.fakes.calls import Things, active, make_things
from tests.fakes.domain import DomainRegion, make_region

from keystead.core.errors import Refusal
from keystead.crypto import asymmetric
from keystead.crypto.proofkey import PublicJwk
from keystead.crypto.suites import suite_of
from keystead.databases.creation import NewSystem
from keystead.databases.logins.acts import NewMapping
from keystead.databases.logins.model import LoginAnswer, LoginRequest, parse_grant
from keystead.databases.logins.standing import STATEMENT
from keystead.iam.model import Principal

USE = "Allow any-user to use mysql-instances in tenancy where request.principal.type = 'user'"


class World:
    def __init__(self, directory: Path) -> None:
        self.region: DomainRegion = make_region(directory)
        self.things: Things = make_things(self.region, self.region.admin)
        self.region.allow(STATEMENT, USE)
        self.ann = self.region.user("ann").principal
        self.mapping = self.region.databases.map_login(
            self.region.admin, self.things.system, NewMapping("user", self.ann.id)
        )
        self.text = json.dumps({"mapping": self.mapping.id, "tenancy": self.region.tenancy, "user": self.ann.id})

    def token(self, who: Principal | None = None, key: PublicJwk | None = None, audience: str = "databases") -> str:
        return self.region.tokens.issue(who or self.ann, audience=audience, key=key).token  # type: ignore[arg-type]

    def ask(self, token: str | bytes, **given: object) -> LoginAnswer:
        payload = token.encode() if isinstance(token, str) else token
        asked = {
            "client": "token", "user": "ann", "account_text": self.text, "nonce": b"", "payload": payload,
            "address": "192.0.2.7", "connection": 5, **given,
        }  # fmt: skip
        return self.region.logins.decide_login(
            self.region.host(),
            self.things.system,
            LoginRequest(**asked),  # type: ignore[arg-type]
        )

    def code(self, token: str | bytes, **given: object) -> str:
        before = len(self.region.journal.entries)
        with pytest.raises(Refusal) as caught:
            self.ask(token, **given)
        (entry,) = self.region.journal.entries[before:]
        assert (entry.operation, entry.outcome, entry.code) == ("LogInToDatabase", "refused", caught.value.code)
        return caught.value.code


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_let_in_and_recorded_once(world: World) -> None:
    before = len(world.region.journal.entries)
    answer = world.ask(world.token())
    assert (answer.account, answer.grounds.subject, answer.grounds.group) == ("ann", world.ann.id, "")
    (entry,) = world.region.journal.entries[before:]
    assert (entry.outcome, entry.principal_id, entry.token_id) == ("allowed", world.ann.id, answer.grounds.token_id)


def test_the_table_of_refusals(world: World) -> None:
    other = world.region.new_tenancy("globex").principal
    eve = world.region.user("eve").principal
    good = world.token()
    assert world.code(world.token(audience="api")) == "NotAuthenticated"
    assert world.code(good[:-4] + "AAAA") == "NotAuthenticated"
    assert world.code(b"\xff\xfe") == "NotAuthenticated"
    assert world.code(world.token(other)) == "OtherTenancy"
    assert world.code(world.token(eve)) == "NotMapped"
    assert world.code(good, user="eve") == "NotMapped"
    assert world.code(good, client="openid") == "NotMapped"
    for text in ("", "{}", "[]", '{"group": "*"}', world.text.replace(world.region.tenancy, other.tenancy)):
        assert world.code(good, account_text=text) == "NotMapped"
    proxy = json.dumps({"mapping": world.mapping.id, "tenancy": world.region.tenancy, "proxy": True})
    assert world.code(good, account_text=proxy) == "NotMapped"
    world.region.clock.advance(3601)
    assert world.code(good) == "NotAuthenticated"


def test_another_systems_mapping_opens_nothing(world: World) -> None:
    region = world.region
    made = region.databases.create(region.admin, NewSystem(world.things.compartment, "other", world.things.key))
    active(region, made.system.id)
    there = region.databases.map_login(region.admin, made.system.id, NewMapping("user", world.ann.id))
    assert world.code(world.token(), account_text=world.text.replace(world.mapping.id, there.id)) == "NotMapped"


def test_the_lowest_precedence_holds_and_membership_counts_now(world: World) -> None:
    region = world.region
    bob = region.user("bob", "First", "Second").principal
    directory = region.snapshot.directory
    region.snapshot.refresh()
    ids = {group.name: group.id for each in directory.groups_of(bob.id) if (group := directory.group(each))}
    for name, precedence in (("First", 10), ("Second", 5)):
        wanted = NewMapping("group", ids[name], roles=("reader",), precedence=precedence)
        region.databases.map_login(region.admin, world.things.system, wanted)
    text = json.dumps({"tenancy": region.tenancy, "group": "*"})
    token = world.token(bob)
    assert world.ask(token, user="bob", account_text=text).account == "p_second"
    region.iam.remove_member(region.admin, ids["Second"], bob.id)
    assert world.ask(token, user="bob", account_text=text).account == "p_first"
    region.iam.remove_member(region.admin, ids["First"], bob.id)
    assert world.code(token, user="bob", account_text=text) == "NotMapped"


class Key:
    """A client's RSA key."""

    def __init__(self) -> None:
        suite = suite_of("RSA-2048")
        self.private = asymmetric.PrivateKey(suite, asymmetric.generate(suite))
        spki = base64.b64encode(self.private.public.spki).decode()
        self.public = PublicJwk.from_pem(f"-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n")

    def answer(self, nonce: bytes, token: str) -> bytes:
        signature = base64.b64encode(self.private.sign(nonce, "RSA-PKCS1-SHA256")).decode()
        told = {"fingerprint": self.public.fingerprint, "signature": signature, "token": token}
        return json.dumps(told).encode()


def test_a_bound_token_needs_its_key_and_the_nonce_of_now(world: World) -> None:
    region, mine, other = world.region, Key(), Key()
    region.databases.unmap_login(region.admin, world.things.system, world.mapping.id)
    wanted = NewMapping("user", world.ann.id, client="oci")
    mapping = region.databases.map_login(region.admin, world.things.system, wanted)
    text = world.text.replace(world.mapping.id, mapping.id)
    nonce, token = secrets.token_hex(16).encode(), world.token(key=mine.public)
    given = {"client": "oci", "account_text": text, "nonce": nonce}
    assert world.ask(mine.answer(nonce, token), **given).account == "ann"
    assert world.code(other.answer(nonce, token), **given) == "KeyNotProved"
    assert world.code(mine.answer(bytes(32), token), **given) == "KeyNotProved"
    assert world.code(mine.answer(nonce, token), **{**given, "nonce": b"n" * 32}) == "KeyNotProved", "replayed"
    assert world.code(mine.answer(nonce, world.token()), **given) == "KeyNotProved", "bound to nothing"
    assert world.code(token, account_text=text) == "KeyNotProved", "as a password"
    assert world.code(b"{", **given) == "NotAuthenticated"


def test_grants_are_what_an_administrator_could_grant() -> None:
    assert str(parse_grant("select,  Insert on shop.*")) == "SELECT, INSERT ON shop.*"
    assert str(parse_grant("EXECUTE ON shop.total")) == "EXECUTE ON shop.total"
    for bad in ("ALL ON *.*", "SUPER ON shop.*", "SELECT ON mysql.user", "SELECT ON shop.* TO x", "SELECT ON a`.*", ""):
        with pytest.raises(Refusal):
            parse_grant(bad)


def test_secrets_are_not_shown() -> None:
    asked = LoginRequest("token", "ann", "{}", b"", b"a-token", "::1", 1)
    assert "a-token" not in repr(asked)


def test_members_of_a_dynamic_group_come_in_for_as_long_as_its_rule_holds(world: World) -> None:
    region = world.region
    rule = "ALL {resource.type = 'mysqldbsystem'}"
    group = region.iam.create_dynamic_group(region.admin, "Workloads", rule)
    wanted = NewMapping("group", group.id, roles=("reader",))
    mapping = region.databases.map_login(region.admin, world.things.system, wanted)
    assert (mapping.subject_name, mapping.account) == ("Workloads", "p_workloads")
    region.snapshot.refresh()
    made = region.databases.create(region.admin, NewSystem(world.things.compartment, "orders", world.things.key))
    active(region, made.system.id)
    region.snapshot.refresh()
    workload = region.snapshot.directory.principal(made.system.id)
    assert workload is not None
    region.allow("Allow dynamic-group Workloads to use mysql-instances in tenancy", name="workloads")
    text = json.dumps({"tenancy": region.tenancy, "group": "*"})
    token = world.token(workload)
    assert world.ask(token, user=workload.name, account_text=text).grounds.group == group.id
    region.iam.update_dynamic_group(region.admin, group.id, "ALL {resource.type = 'nothing'}")
    assert world.code(token, user=workload.name, account_text=text) == "NotMapped"
