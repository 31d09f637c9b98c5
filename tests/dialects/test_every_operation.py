"""The walk over the tables of the dialects: what the pipeline promises holds for every foreign operation too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.web.asgi import Client, Reply
from tests.web.region import Region, open_region

from keystead.web.dialects.common import EVENTS
from keystead.web.dialects.vault import TABLE
from keystead.web.dialects.vault_words import WORDS
from keystead.web.operations import Operation

OPERATIONS = {operation.name: operation for operation in TABLE}
PUBLIC = {"VaultHealth", "VaultSealStatus", "VaultInitialized", "VaultLeader"}
LOGINS = {operation.name for operation in TABLE if not operation.auth} - PUBLIC
OWN = {"VaultLookUpSelf", "VaultRenewSelf", "VaultRevokeSelf"}
GUARDED = [name for name in OPERATIONS if name not in PUBLIC | LOGINS | OWN]
WITH_BODY = [name for name in GUARDED if OPERATIONS[name].request is not None]
INPUT = "d29yZHM="


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


@pytest.fixture
def client(region: Region) -> Iterator[Client]:
    made = region.client("")
    yield made
    made.close()


def target_of(operation: Operation) -> str:
    names = {"mount": "prod/vault", "key": "key", "kind": "wrapped", "algorithm": "sha2-256", "bytes": "8"}
    names |= {"source": "all", "path": "some/where", "method": "userpass", "tenancy": "acme", "user": "root"}
    target = operation.template
    for name, value in names.items():
        target = target.replace(f"{{{name}}}", value)
    return target


def body_of(region: Region, name: str) -> dict[str, Any]:
    sealed = f"vault:v1:{region.ids['encrypted']}"
    bodies: dict[str, dict[str, Any]] = {
        "VaultEncrypt": {"plaintext": INPUT},
        "VaultDecrypt": {"ciphertext": sealed},
        "VaultRewrap": {"ciphertext": sealed},
        "VaultVerify": {"input": INPUT, "hmac": "vault:v1:AAAA"},
        "VaultVerifyBy": {"input": INPUT, "hmac": "vault:v1:AAAA"},
    }
    return bodies.get(name, {"input": INPUT})


def ask(region: Region, client: Client, name: str, token: str, **given: Any) -> Reply:
    operation = OPERATIONS[name]
    headers = {"x-vault-token": token} | given.pop("headers", {})
    if operation.request is not None and "raw" not in given:
        given["raw"] = json.dumps(body_of(region, name)).encode()
    return client.call(operation.method, "!" + target_of(operation), headers=headers, **given)


def refused_and_recorded(region: Region, reply: Reply, before: int, generation: int, name: str) -> Any:
    """The answer has Vault's shape, there is exactly one entry for it, durable, and nothing was changed."""
    assert set(reply.json) == {"errors"} and reply.headers["content-type"] == "application/json"
    new = region.log.entries[before:]
    assert [entry.outcome for entry in new] == ["refused"], new
    assert new[0].source == "192.0.2.7" and new[0].request_id == reply.headers["x-request-id"]
    assert region.log.durable == len(region.log.entries)
    assert region.services.generation() == generation
    return new[0]


def test_every_event_has_words() -> None:
    assert set(WORDS) == set(EVENTS)


@pytest.mark.parametrize("name", GUARDED)
def test_a_caller_who_may_do_nothing_is_refused_and_it_is_recorded(region: Region, client: Client, name: str) -> None:
    before, generation = len(region.log.entries), region.services.generation()
    reply = ask(region, client, name, region.tokens["nobody"])
    assert reply.status in (400, 404), reply.body
    entry = refused_and_recorded(region, reply, before, generation, name)
    assert (entry.principal_name, entry.tenancy) == ("nobody", region.ids["tenancy"])


@pytest.mark.parametrize("name", [*GUARDED, *sorted(OWN)])
def test_no_forged_or_missing_token_is_taken(region: Region, client: Client, name: str) -> None:
    head, payload, signature = region.tokens["root"].split(".")
    for token in ("", "x", f"{head}.{payload}.{signature[:-4]}AAAA", "a" * 5000):
        before, generation = len(region.log.entries), region.services.generation()
        reply = ask(region, client, name, token)
        assert (reply.status, reply.json) == (403, {"errors": ["permission denied"]})
        assert refused_and_recorded(region, reply, before, generation, name).operation == name


def test_two_tokens_that_differ_are_none(region: Region, client: Client) -> None:
    root, nobody = region.tokens["root"], region.tokens["nobody"]
    for second, status in ((root, 200), (nobody, 403)):
        reply = ask(region, client, "VaultReadKey", root, headers={"authorization": f"Bearer {second}"})
        assert reply.status == status


@pytest.mark.parametrize("name", [*WITH_BODY, *sorted(LOGINS)])
def test_bad_bodies_are_refused_and_change_nothing(region: Region, client: Client, name: str) -> None:
    for raw in (b"{", b"[]", b'"text"', b"\xff\xfe", b"7"):
        before, generation = len(region.log.entries), region.services.generation()
        reply = ask(region, client, name, region.tokens["root"], raw=raw)
        assert reply.status == 400, (raw, reply.body)
        assert refused_and_recorded(region, reply, before, generation, name).operation == name


@pytest.mark.parametrize("name", WITH_BODY)
def test_fields_of_a_wrong_kind_are_refused_without_being_repeated(region: Region, client: Client, name: str) -> None:
    for field in OPERATIONS[name].request.__struct_fields__:  # type: ignore[union-attr]
        reply = ask(region, client, name, region.tokens["root"], raw=json.dumps({field: {"s3cret": [1]}}).encode())
        assert reply.status == 400, (field, reply.body)
        assert b"s3cret" not in reply.body


@pytest.mark.parametrize("name", WITH_BODY)
def test_oversized_bodies_are_refused(region: Region, client: Client, name: str) -> None:
    assert ask(region, client, name, region.tokens["root"], raw=b" " * ((1 << 20) + 1)).status == 413


@pytest.mark.parametrize("wrong", ["LIST", "PATCH", "DELETE"])
def test_wrong_methods(region: Region, client: Client, wrong: str) -> None:
    reply = client.call(wrong, "!/v1/prod/vault/encrypt/key", headers={"x-vault-token": region.tokens["root"]})
    assert (reply.status, reply.json) == (405, {"errors": ["unsupported operation"]})


@pytest.mark.parametrize(
    "path", ["/v1/", "/v1/x", "/v1/sys/x", "/v1/a//keys/key", "/v1/%2f/keys/key", "/v1/%ff/keys/key"]
)
def test_paths_that_name_nothing(region: Region, client: Client, path: str) -> None:
    before = len(region.log.entries)
    reply = client.get("!" + path, headers={"x-vault-token": region.tokens["root"]})
    assert reply.status == 404 and set(reply.json) == {"errors"}
    assert [entry.outcome for entry in region.log.entries[before:]] == ["refused"]


def test_put_is_post_and_a_list_may_be_asked_for_by_get(region: Region, client: Client) -> None:
    headers = {"x-vault-token": region.tokens["root"]}
    sealed = client.call("PUT", "!/v1/prod/vault/encrypt/key", {"plaintext": INPUT}, headers=headers)
    assert sealed.json["data"]["key_version"] == 1
    for method, query in (("LIST", ""), ("GET", "?list=true")):
        assert "key" in client.call(method, f"!/v1/prod/vault/keys/{query}", headers=headers).json["data"]["keys"]


def test_nothing_is_answered_while_the_audit_disk_is_full_but_what_takes_access(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    client, root = region.client(""), region.tokens["root"]
    headers, own = {"x-vault-token": root}, "!/v1/prod/vault/keys/own"
    assert client.post(own, {}, headers=headers).status == 200
    assert client.post(f"{own}/config", {"deletion_allowed": True}, headers=headers).status == 200
    region.log.full = True
    generation = region.services.generation()
    for name in GUARDED:
        if not OPERATIONS[name].takes_access:
            assert ask(region, client, name, root).status == 503, name
    assert region.services.generation() == generation
    assert client.call("DELETE", own, headers=headers).status == 204
    assert ask(region, client, "VaultRevokeSelf", root).status == 204
    region.log.full = False
    assert ask(region, client, "VaultLookUpSelf", root).status == 403
    client.close()
