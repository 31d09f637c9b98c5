"""The keys that sign the region's tokens: the same for every process, kept wrapped, replaced without a gap."""

import base64
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import sqlalchemy as sa
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey
from tests.fakes.domain import DomainRegion, make_region
from tests.refusals import refused

from keystead.adapters.jose import JoseCodec
from keystead.adapters.sql.freshness import SqliteFreshness
from keystead.adapters.sql.schema_tokens import signing_keys
from keystead.adapters.sql.store import SqlStore
from keystead.core.errors import KeysteadError, Refusal
from keystead.core.secret import Secret
from keystead.crypto import asymmetric
from keystead.crypto.sign import SigningKey
from keystead.crypto.suites import Suite
from keystead.iam.ports import MachineKeys
from keystead.iam.tokens import LIFETIME
from keystead.server.token_keys import TokenKeys

HOUR = LIFETIME.total_seconds()


@pytest.fixture
def region(tmp_path: Path) -> DomainRegion:
    return make_region(tmp_path)


def keys(region: DomainRegion, subkey: bytes = bytes(32)) -> TokenKeys:
    return TokenKeys(region.store, Secret(subkey), region.clock, "home", SqliteFreshness(region.path).generation)


def published(region: DomainRegion) -> list[Mapping[str, str]]:
    return list(region.iam.public_keys())


def enters(region: DomainRegion, token: str) -> bool:
    try:
        region.iam.authenticate(token, "192.0.2.1", "r")
    except Refusal as refusal:
        assert refusal.code == "NotAuthenticated"
        return False
    return True


def token(region: DomainRegion, algorithm: str = "Ed25519") -> str:
    return region.tokens.issue(region.admin.principal, algorithm=algorithm).token  # type: ignore[arg-type]


def kid_of(text: str) -> str:
    head = text.split(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


def rows(region: DomainRegion) -> dict[str, tuple[bytes, object]]:
    with region.store.read() as tx:
        return {row.id: (row.wrapped, row.retired_at) for row in tx.connection.execute(sa.select(signing_keys))}


def test_every_process_has_the_same_key_and_it_is_kept_wrapped(region: DomainRegion) -> None:
    codecs = [JoseCodec(keys(region)) for _ in range(2)]
    signed = codecs[0].sign({"sub": "x"}, "RS256")
    assert codecs[1].verify(signed, lambda _: None) == {"sub": "x"}
    shown = codecs[1].public_keys()
    assert [each["alg"] for each in shown] == ["Ed25519", "RS256"]
    assert not any({"d", "p", "q"} & set(each) for each in shown)
    others = KeySet.import_key_set({"keys": shown})  # type: ignore[typeddict-item]
    assert jwt.decode(signed, others, algorithms=["RS256"]).claims == {"sub": "x"}
    assert b"\x30\x82" not in rows(region)["region-rs256"][0][:200]
    with pytest.raises(KeysteadError):
        keys(region, bytes(31) + b"x").signing("RS256")


def test_the_algorithm_is_the_keys(region: DomainRegion) -> None:
    ring = keys(region)
    kid, rsa = ring.signing("RS256")
    for name, claimed in (("region", "RS256"), (kid, "Ed25519")):
        key = rsa if claimed == "RS256" else OKPKey.generate_key("Ed25519")
        forged = jwt.encode({"alg": claimed, "kid": name}, {"sub": "x"}, key, algorithms=[claimed])
        with pytest.raises(Refusal):
            JoseCodec(ring).verify(forged, lambda _: None)


@pytest.mark.parametrize("algorithm", ["Ed25519", "RS256"])
def test_tokens_of_before_and_after_are_good_in_every_process(region: DomainRegion, algorithm: str) -> None:
    other = region.again()
    before = token(region, algorithm)
    assert enters(other, before)
    done = region.iam.rotate_token_keys(region.admin)
    after = token(other, algorithm)
    assert kid_of(after) in done.kids and kid_of(after) != kid_of(before)
    for process in (region, other, region.again()):
        assert enters(process, before) and enters(process, after)
    assert {kid_of(before), *done.kids} <= {each["kid"] for each in published(other)}


def test_when_the_last_token_of_the_old_key_has_ended_it_is_nobodys(region: DomainRegion) -> None:
    other = region.again()
    token(region, "RS256")
    old = {each["kid"] for each in published(region)}
    done = region.iam.rotate_token_keys(region.admin)
    assert enters(region, by_the_first(region)), "it verifies while tokens that it signed may be about"
    region.clock.advance(HOUR - 1)
    assert {each["kid"] for each in published(other)} == old | set(done.kids)
    region.clock.advance(1)
    assert done.others_until == region.clock.now()
    for process in (region, other):
        assert {each["kid"] for each in published(process)} == set(done.kids)
    late = by_the_first(region)  # whoever still has the old key
    assert not enters(region, late) and not enters(other, late)


def by_the_first(region: DomainRegion, head: Mapping[str, str] | None = None) -> str:
    """A token as good as any, of now, but signed by the key that was there first."""
    body = token(region).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    jwk = SigningKey(bytes(32)).reveal_jwk()
    key = OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "d")})
    return jwt.encode(dict(head or {"alg": "Ed25519", "kid": "region"}), claims, key, algorithms=["Ed25519"])


def test_of_a_key_that_was_replaced_the_public_half_is_kept_and_then_nothing(region: DomainRegion) -> None:
    region.iam.rotate_token_keys(region.admin)
    first = rows(region)
    region.iam.rotate_token_keys(region.admin)
    second = rows(region)
    assert set(first) < set(second)
    replaced = [kid for kid in first if kid not in ("region", "region-rs256")]
    assert all(second[kid][0] != first[kid][0] and second[kid][1] is not None for kid in replaced)
    with pytest.raises(KeysteadError):  # what verifies is not taken for what signs
        with region.store.note() as tx:
            tx.connection.execute(signing_keys.update().where(signing_keys.c.id == replaced[0]).values(retired_at=None))
        keys(region).signing("Ed25519")
    with region.store.note() as tx:
        tx.connection.execute(
            signing_keys.update().where(signing_keys.c.id == replaced[0]).values(retired_at=region.clock.now())
        )
    region.clock.advance(HOUR)
    region.iam.rotate_token_keys(region.admin)
    assert not set(replaced) & set(rows(region))
    assert "region" in rows(region), "else the root key's own would sign again"


def test_at_once_ends_every_token_in_every_process(region: DomainRegion) -> None:
    other = region.again()
    before = token(region)
    assert enters(region, before) and enters(other, before)
    region.iam.rotate_token_keys(region.admin)
    between = token(region)
    done = region.iam.rotate_token_keys(region.admin, at_once=True)
    for process in (region, other):
        assert not enters(process, before) and not enters(process, between)
        assert {each["kid"] for each in published(process)} == set(done.kids)
    standing = region.iam._directory
    assert standing.voided(region.admin.principal.id, region.clock.now()), "sessions in databases rest upon it"
    region.clock.advance(1)
    assert enters(other, token(region))


def test_what_is_being_verified_as_the_keys_end_is_not_remembered(
    region: DomainRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tokens, verify = token(region), region.tokens, JoseCodec.verify

    def slow(codec: JoseCodec, text: str, machine_key: MachineKeys) -> Mapping[str, object]:
        claims = verify(codec, text, machine_key)
        if text == before and not ended:
            ended.append(region.iam.rotate_token_keys(region.admin, at_once=True))
            region.clock.advance(1)
            assert enters(region, token(region)), "another request meanwhile: by the new keys"
        return claims

    ended: list[object] = []
    monkeypatch.setattr(JoseCodec, "verify", slow)
    tokens._remember(tokens._current(), before)
    assert ended and before not in tokens._current()


@pytest.mark.parametrize("kid", ["region-0000000000000000", "", "region-", "../region", "REGION", None])
def test_a_name_of_no_key_is_refused(region: DomainRegion, kid: str | None) -> None:
    region.iam.rotate_token_keys(region.admin)
    head = {"alg": "Ed25519"} | ({"kid": kid} if kid is not None else {})
    assert enters(region, by_the_first(region)) and not enters(region, by_the_first(region, head))


def test_killed_before_the_commit_nothing_has_changed(region: DomainRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    before, good = rows(region), token(region)
    shown = published(region.again())

    class Killed(BaseException):
        pass

    rotate = TokenKeys.rotate

    def dies(*given: object) -> None:
        rotate(*given)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(TokenKeys, "rotate", dies)
        with pytest.raises(Killed):
            region.iam.rotate_token_keys(region.admin)
    assert {kid: row for kid, row in rows(region).items() if kid != "region-rs256"} == before
    for process in (region, region.again()):
        assert enters(process, good) and enters(process, token(process))
        assert published(process) == shown


def test_it_is_recorded_and_for_the_first_tenancy_alone(region: DomainRegion) -> None:
    done = region.iam.rotate_token_keys(region.admin, at_once=True)
    entry = next(each for each in reversed(region.entries()) if each.operation == "RotateTokenKeys")
    assert (entry.outcome, entry.detail["at_once"]) == ("allowed", "yes")
    assert len(done.kids) == 2
    stranger = region.new_tenancy("globex")
    assert refused(lambda: region.iam.rotate_token_keys(stranger)).code == "NotFound"
    assert refused(lambda: region.iam.rotate_token_keys(region.user("alice"))).code == "NotFound"


def test_names_that_nobody_knows_cost_no_look_at_the_rows(
    region: DomainRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, other, looks = keys(region), keys(region), []
    read = SqlStore.read
    ring.signing("Ed25519")
    names = ["region-rs256", "region-0000000000000000", "", "x" * 1000]
    with monkeypatch.context() as patched:
        patched.setattr(SqlStore, "read", lambda store: looks.append(1) or read(store))
        for _ in range(20):
            assert [ring.verifying(name) for name in names] == [None] * len(names)
        assert not looks
    kid, _ = other.signing("RS256")  # made the moment after by another process
    assert ring.verifying(kid) is not None
    for _ in range(2):
        region.iam.rotate_token_keys(region.admin, at_once=True)
    ring.signing("Ed25519")
    with monkeypatch.context() as patched:
        patched.setattr(SqlStore, "read", lambda store: looks.append(1) or read(store))
        for _ in range(20):
            assert [ring.verifying(name) for name in names] == [None] * len(names)
        assert not looks
    new, _ = keys(region).signing("RS256")
    assert ring.verifying(new) is not None


def test_while_the_first_rsa_key_is_made_others_go_on(region: DomainRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, made, begun, go = keys(region), [], Event(), Event()
    generate = asymmetric.generate

    def slow(suite: Suite) -> Secret:
        made.append(suite)
        begun.set()
        assert go.wait(60)
        return generate(suite)

    monkeypatch.setattr(asymmetric, "generate", slow)
    with ThreadPoolExecutor(4) as pool:
        first, second = (pool.submit(ring.signing, "RS256") for _ in range(2))
        try:
            assert begun.wait(60)
            assert pool.submit(ring.signing, "Ed25519").result(20)[0] == "region"
            assert pool.submit(ring.verifying, "region").result(20) is not None
            assert pool.submit(ring.verifying, "region-rs256").result(20) is None
            assert not first.done() and not second.done()
        finally:
            go.set()
        assert first.result(60)[0] == second.result(60)[0] == "region-rs256"
    assert len(made) == 1


def test_keys_that_were_ended_at_once_stay_ended_whatever_the_clock_says(region: DomainRegion) -> None:
    text = {token(region, name) for name in ("Ed25519", "RS256")}
    ring = keys(region)
    assert all(ring.verifying(kid_of(each)) for each in text)
    rotated = region.iam.rotate_token_keys(region.admin, at_once=True)
    assert rotated.others_until == region.clock.now()
    region.clock.set_back(HOUR / 2)
    for process in (ring, keys(region)):
        process.epoch(SqliteFreshness(region.path).generation())  # as each request does
        assert not any(process.verifying(kid_of(each)) for each in text)
        assert {kid for kid, *_ in process.published()} == set(rotated.kids)
    region.iam.rotate_token_keys(region.admin)
    ring.epoch(SqliteFreshness(region.path).generation())
    assert not any(ring.verifying(kid_of(each)) for each in text)
    assert all(ring.verifying(kid) for kid in rotated.kids)
