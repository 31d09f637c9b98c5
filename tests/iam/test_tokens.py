"""Security tokens: what does not hold is refused, whatever the cause and always with the same words."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fakes.calls import make_things
from tests.fakes.domain import PASSWORD, REGION, DomainRegion, make_region

from keystead.adapters.jose import JoseCodec
from keystead.core.clock import SteadyClock
from keystead.core.errors import Refusal
from keystead.core.ids import new_id
from keystead.core.secret import Secret
from keystead.crypto.sign import SigningKey
from keystead.iam.model import Caller, Target
from keystead.iam.ports import Machine
from keystead.iam.tokens import LIFETIME, MACHINE_LIFETIME, Tokens, invalid_token, machine_claims

OURS = SigningKey(bytes(32))  # the fixture's
Claims = dict[str, object]
Change = Mapping[str, object]


@dataclass
class Gate:
    """A region, its administrator's user, and two machines."""

    region: DomainRegion
    machine: str
    machine_key: SigningKey
    other_machine: str

    def claims(self, **changes: object) -> Claims:
        """Those of a good token of the administrator's."""
        now = self.region.clock.now()
        made: Claims = {
            "iss": REGION,
            "aud": f"keystead:{REGION}:api",
            "sub": self.region.admin.principal.id,
            "tenant": self.region.tenancy,
            "jti": new_id("token", REGION),
            "iat": int(now.timestamp()),
            "at": int(now.timestamp()) * 1_000_000,
            "exp": int((now + LIFETIME).timestamp()),
        }
        made |= changes
        return {name: value for name, value in made.items() if value is not ...}

    def machine_claims(self, **changes: object) -> Claims:
        made: Claims = {**machine_claims(self.machine, REGION, self.region.clock.now()), **changes}
        return {name: value for name, value in made.items() if value is not ...}

    def enter(self, token: str) -> Caller:
        return self.region.iam.authenticate(token, "127.0.0.1", "r")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """For tests that change nothing and let no time pass."""
    region = make_region(tmp_path_factory.mktemp("shared"))
    key = SigningKey.generate()
    machines = [new_id("machine", REGION) for _ in range(2)]
    entry = region.guard.entry(region.admin, "MACHINE_CREATE", _target(region), "Init", "succeeded")
    with region.store.write(entry) as tx:
        for machine in machines:
            tx.iam.add_machine(Machine(machine, machine[-4:], key.public.raw, deleted=False))  # type: ignore[arg-type]
    region.snapshot.refresh()
    return Gate(region, machines[0], key, machines[1])


@pytest.fixture
def gate(shared: Gate, tmp_path: Path) -> Gate:
    return replace(shared, region=shared.region.copy(tmp_path))


def _target(region: DomainRegion) -> Target:
    return Target("machines", "m", "m", region.tenancy, ())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(claims: Change, key: SigningKey = OURS, kid: str = "region", **header: object) -> str:
    """A token made by hand, so that every part of it can be wrong."""
    head = {"alg": "Ed25519", "kid": kid} | header
    head = {name: value for name, value in head.items() if value is not ...}
    body = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{body}.{b64(key.sign(body.encode()))}"


def hs256(claims: Change) -> str:
    """The classic: HMAC with the public key as its secret."""
    body = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'region'}).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{body}.{b64(hmac.digest(OURS.public.raw, body.encode(), hashlib.sha256))}"


def unsigned(claims: Change) -> str:
    return f"{b64(json.dumps({'alg': 'none', 'kid': 'region'}).encode())}.{b64(json.dumps(claims).encode())}."


def _cut(token: str) -> str:
    return token[:-6]


def _flip(token: str) -> str:
    head, body, signature = token.split(".")
    return f"{head}.{body}.{'B' if signature[0] != 'B' else 'C'}{signature[1:]}"


def _swap(gate: Gate) -> str:
    """The claims of one token under the signature of another."""
    head, _, signature = signed(gate.claims()).split(".")
    return f"{head}.{b64(json.dumps(gate.claims(sub=new_id('user', REGION))).encode())}.{signature}"


def _future(gate: Gate, seconds: int) -> Claims:
    now = int(gate.region.clock.now().timestamp()) + seconds
    return gate.claims(iat=now, at=now * 1_000_000, exp=now + 60)


FORGED: dict[str, Callable[[Gate], str]] = {
    "empty": lambda g: "",
    "garbage": lambda g: "a.b.c",
    "not ascii": lambda g: "ä" * 40,
    "too long": lambda g: signed(g.claims(more="x" * 5000)),
    "five parts": lambda g: signed(g.claims()) + ".a.b",
    "cut": lambda g: _cut(signed(g.claims())),
    "flipped": lambda g: _flip(signed(g.claims())),
    "other claims": _swap,
    "algorithm none": lambda g: unsigned(g.claims()),
    "algorithm None": lambda g: signed(g.claims(), alg="None"),
    "no algorithm": lambda g: signed(g.claims(), alg=...),
    "another algorithm's name": lambda g: signed(g.claims(), alg="ES256"),
    "HS256 with the public key": lambda g: hs256(g.claims()),
    "another key": lambda g: signed(g.claims(), SigningKey.generate()),
    "the key in the header": lambda g: signed(g.claims(), k := SigningKey.generate(), jwk=k.public.jwk()),
    "no key named": lambda g: signed(g.claims(), kid=...),  # type: ignore[arg-type]
    "an unknown key": lambda g: signed(g.claims(), kid=new_id("machine", REGION)),
    "a key that is a number": lambda g: signed(g.claims(), kid=7),  # type: ignore[arg-type]
    "critical header": lambda g: signed(g.claims(), crit=["exp"]),
    "claims that are a list": lambda g: signed([1]),  # type: ignore[arg-type]
    "another region": lambda g: signed(g.claims(iss="elsewhere")),
    "another audience": lambda g: signed(g.claims(aud="keystead:elsewhere:api")),
    "an audience among others": lambda g: signed(g.claims(aud=["keystead:home:api", "x"])),
    "another tenancy": lambda g: signed(g.claims(tenant=new_id("tenancy", REGION))),
    "an unknown user": lambda g: signed(g.claims(sub=new_id("user", REGION))),
    "expired": lambda g: signed(g.claims(exp=int(g.region.clock.now().timestamp()))),
    "not yet": lambda g: signed(_future(g, 31)),
    "longer than an hour": lambda g: signed(g.claims(exp=int(g.region.clock.now().timestamp()) + 3601)),
    "for ever": lambda g: signed(g.claims(exp=2**60)),
    "before it was made": lambda g: signed(g.claims(exp=int(g.region.clock.now().timestamp()) - 60)),
    "made at another time than it says": lambda g: signed(g.claims(at=10**15)),
    "a machine's key for a user": lambda g: signed(g.claims(), g.machine_key, g.machine),
    "a machine's key for a user, and says so": lambda g: signed(g.claims(machine=g.machine), g.machine_key, g.machine),
    "a machine's key for another machine": lambda g: signed(
        g.machine_claims(sub=g.other_machine, machine=g.other_machine), g.machine_key, g.machine
    ),
    "our key for a machine": lambda g: signed(g.machine_claims()),
    "a machine's token under a user's id": lambda g: signed(
        g.machine_claims(jti=g.region.admin.principal.id), g.machine_key, g.machine
    ),
    "a machine in a tenancy": lambda g: signed(g.machine_claims(tenant=g.region.tenancy), g.machine_key, g.machine),
    "a machine for longer than two minutes": lambda g: signed(
        g.machine_claims(exp=int(g.region.clock.now().timestamp()) + 121), g.machine_key, g.machine
    ),
}
for claim in ("iss", "aud", "sub", "tenant", "jti", "iat", "at", "exp"):
    FORGED[f"without {claim}"] = lambda g, claim=claim: signed(g.claims(**{claim: ...}))
    FORGED[f"{claim} is a float"] = lambda g, claim=claim: signed(g.claims(**{claim: 1.5}))
    FORGED[f"{claim} is true"] = lambda g, claim=claim: signed(g.claims(**{claim: True}))
    FORGED[f"{claim} is null"] = lambda g, claim=claim: signed(g.claims(**{claim: None}))


def refused(run: Callable[[], object]) -> None:
    """With the one answer that tells nothing of the cause."""
    with pytest.raises(Refusal) as caught:
        run()
    answer, error = invalid_token(), caught.value
    assert (error.code, error.message, error.hint, error.kind) == (
        answer.code, answer.message, answer.hint, answer.kind,
    )  # fmt: skip


def test_good_tokens_hold(gate: Gate) -> None:
    """Else the table below would prove nothing."""
    assert gate.enter(signed(gate.claims())).principal == gate.region.admin.principal
    host = gate.enter(signed(gate.machine_claims(), gate.machine_key, gate.machine)).principal
    assert (host.id, host.type, host.name) == (gate.machine, "service", "host")
    issued = gate.region.tokens.issue(gate.region.admin.principal)
    assert gate.enter(issued.token).token_id == issued.token_id
    assert JoseCodec(OURS).verify(issued.token, lambda _: None)["jti"] == issued.token_id


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_token_is_refused(shared: Gate, how: str) -> None:
    token = FORGED[how](shared)
    refused(lambda: shared.enter(token))
    refused(lambda: shared.enter(token))  # nothing was remembered of it


def test_the_text_of_a_token_is_not_in_its_repr(gate: Gate) -> None:
    issued = gate.region.tokens.issue(gate.region.admin.principal)
    assert issued.token not in repr(issued)


def test_a_token_ends_after_an_hour(gate: Gate) -> None:
    issued = gate.region.tokens.issue(gate.region.admin.principal)
    gate.region.clock.advance(LIFETIME.total_seconds() - 1)
    gate.enter(issued.token)
    gate.region.clock.advance(1)
    refused(lambda: gate.enter(issued.token))


def test_a_machines_token_ends_after_two_minutes(gate: Gate) -> None:
    token = signed(gate.machine_claims(), gate.machine_key, gate.machine)
    gate.enter(token)
    gate.region.clock.advance(MACHINE_LIFETIME.total_seconds())
    refused(lambda: gate.enter(token))


def test_a_clock_set_back_revives_nothing(gate: Gate) -> None:
    """With the clock that wiring gives: `now` never goes back."""
    region = gate.region
    tokens = Tokens(
        JoseCodec(OURS), region.snapshot.directory, region.snapshot.refresh, SteadyClock(region.clock), REGION
    )
    issued = tokens.issue(region.admin.principal)
    region.clock.advance(LIFETIME.total_seconds())
    refused(lambda: tokens.authenticate(issued.token, "", "r"))
    region.clock.set_back(LIFETIME.total_seconds())
    refused(lambda: tokens.authenticate(issued.token, "", "r"))


def test_signing_out_ends_this_token_and_no_other(gate: Gate) -> None:
    first, second = (gate.region.tokens.issue(gate.region.admin.principal) for _ in range(2))
    caller = gate.enter(first.token)
    gate.region.iam.sign_out(caller)
    refused(lambda: gate.enter(first.token))
    gate.enter(second.token)


def _alice(gate: Gate) -> tuple[Caller, str]:
    alice = gate.region.user("alice")
    gate.region.snapshot.refresh()
    return alice, gate.region.tokens.issue(alice.principal).token


ENDS: dict[str, Callable[[DomainRegion, str], object]] = {
    "tokens revoked": lambda r, user: r.iam.revoke_user_tokens(r.admin, user),
    "blocked": lambda r, user: r.iam.update_user(r.admin, user, "BLOCKED"),
    "deleted": lambda r, user: r.iam.delete_user(r.admin, user),
    "given another password": lambda r, user: r.iam.reset_password(r.admin, user),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("known", [True, False], ids=["used before", "never used"])
def test_tokens_end_with_what_they_stand_on_from_the_next_request_on(gate: Gate, how: str, known: bool) -> None:
    alice, token = _alice(gate)
    if known:
        gate.enter(token)
    ENDS[how](gate.region, alice.principal.id)
    refused(lambda: gate.enter(token))


def test_another_process_sees_the_end_of_a_token_at_once(gate: Gate) -> None:
    alice, token = _alice(gate)
    elsewhere = gate.region.again()
    elsewhere.iam.authenticate(token, "", "r")
    gate.region.iam.revoke_user_tokens(gate.region.admin, alice.principal.id)
    refused(lambda: elsewhere.iam.authenticate(token, "", "r"))


def test_a_token_issued_right_after_a_revocation_holds(gate: Gate) -> None:
    """In the same second: what was issued before it is void, what was issued after it is not."""
    alice, before = _alice(gate)
    gate.region.clock.advance(0.2)
    gate.region.iam.revoke_user_tokens(gate.region.admin, alice.principal.id)
    gate.region.clock.advance(0.2)
    after = gate.region.tokens.issue(alice.principal).token
    refused(lambda: gate.enter(before))
    gate.enter(after)


def test_a_deleted_machine_is_nobody(gate: Gate) -> None:
    token = signed(gate.machine_claims(), gate.machine_key, gate.machine)
    gate.enter(token)
    directory = gate.region.snapshot.directory
    assert directory.machine(gate.machine) is not None
    entry = gate.region.guard.entry(gate.region.admin, "MACHINE_DELETE", _target(gate.region), "x", "succeeded")
    with gate.region.store.write(entry) as tx:
        tx.connection.exec_driver_sql(
            "UPDATE machines SET deleted = 1, generation = ? WHERE id = ?", (tx.generation, gate.machine)
        )
    refused(lambda: gate.enter(token))


def test_a_restored_region_knows_the_revocations(gate: Gate) -> None:
    """They are rows, so a new process reads them before it answers."""
    _, token = _alice(gate)
    gate.region.iam.sign_out(gate.enter(token))
    refused(lambda: gate.region.again().iam.authenticate(token, "", "r"))


def test_a_database_systems_id_is_no_token_subject_beyond_what_we_issue(gate: Gate) -> None:
    """Its own principal has tokens only when the region signs one; nothing issues them from outside."""
    things = make_things(gate.region, gate.region.admin)
    gate.region.snapshot.refresh()
    caller = gate.enter(signed(gate.claims(sub=things.system)))
    assert caller.principal.type == "mysqldbsystem"
    gate.region.databases.delete_identity(gate.region.admin, things.system)
    refused(lambda: gate.enter(signed(gate.claims(sub=things.system))))


def test_the_clock_may_be_a_little_behind(gate: Gate) -> None:
    """Between workers of one machine it is not, but a step of ntp must not sign everybody out."""
    issued = gate.region.tokens.issue(gate.region.admin.principal)
    gate.region.clock.set_back(timedelta(seconds=29).total_seconds())
    gate.enter(issued.token)
    gate.region.clock.set_back(2)
    refused(lambda: gate.enter(issued.token))


def test_signing_in_gives_a_token_of_an_hour(gate: Gate) -> None:
    issued = gate.region.iam.sign_in("ACME", "admin", Secret(PASSWORD), "127.0.0.1", "r")
    assert issued.expires_at == gate.region.clock.now() + LIFETIME
    assert gate.enter(issued.token).principal == gate.region.admin.principal
