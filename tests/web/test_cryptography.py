"""Cryptography as REST has it: slow keys stay off the loop, digests, public keys, and batches item by item."""

import base64
import hashlib
import threading
from collections.abc import Iterator

import pytest
from tests.web.asgi import Client
from tests.web.region import Region, open_region

from keystead.crypto.asymmetric import PrivateKey, PublicKey
from keystead.crypto.public import from_pem
from keystead.crypto.suites import CURRENT


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


@pytest.fixture
def client(region: Region) -> Iterator[Client]:
    opened = region.client("root")
    yield opened
    opened.close()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def new_key(region: Region, client: Client, name: str, algorithm: str) -> str:
    body = {"compartment_id": region.ids["compartment_id"], "vault_id": region.ids["vault_id"], "name": name}
    reply = client.post("/keys", body | {"algorithm": algorithm})
    assert reply.status == 201, reply.body
    return str(reply.json["id"])


def test_slow_keys_are_used_off_the_loop(region: Region, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key(region, client, "slow", "RSA-3072")
    sealed = client.post(f"/keys/{key}/actions/wrap", {"key_material": b64(b"k" * 32)}).json["ciphertext"]
    ran: list[str] = []
    unwrap = PrivateKey.unwrap

    def spy(self: PrivateKey, wrapped: bytes) -> bytes:
        ran.append(threading.current_thread().name)
        return unwrap(self, wrapped)

    monkeypatch.setattr(PrivateKey, "unwrap", spy)
    reply = client.post(f"/keys/{key}/actions/unwrap", {"ciphertext": sealed})
    assert base64.b64decode(reply.json["key_material"]) == b"k" * 32
    assert len(ran) == 1
    assert ran[0].startswith("web"), "RSA belongs on the pool"
    refused = client.post(f"/keys/{key}/actions/unwrap", {"ciphertext": sealed, "associated_data": "AAAA"})
    assert (refused.status, refused.json["code"]) == (400, "Unreadable")


def test_a_signature_over_a_message_or_its_digest(region: Region, client: Client) -> None:
    key = new_key(region, client, "curve", "EC-P384")
    act = f"/keys/{key}/actions"
    shown = client.get(f"/keys/{key}/public-key").json
    outside = PublicKey(CURRENT["EC-P384"], from_pem(shown["pem"]))
    assert shown["jwk"]["crv"] == "P-384"
    assert shown["schemes"][0] == "ECDSA-SHA384"
    by_message = client.post(f"{act}/sign", {"message": b64(b"words"), "scheme": "ECDSA-SHA256"}).json
    by_digest = client.post(f"{act}/sign", {"digest": b64(hashlib.sha384(b"words").digest())}).json
    for made in (by_message, by_digest):
        signature = base64.b64decode(made["signature"])
        assert outside.verify(b"words", signature, made["scheme"])
        body = {"message": b64(b"words"), "signature": made["signature"], "scheme": made["scheme"], "key_version": 1}
        assert client.post(f"{act}/verify", body).json == {"valid": True}
        assert client.post(f"{act}/verify", body | {"message": b64(b"other")}).json == {"valid": False}
    for wrong in ({}, {"message": "AAAA", "digest": "AAAA"}, {"message": "AAAA", "scheme": "RSA-PSS-SHA256"}):
        assert client.post(f"{act}/sign", wrong).status == 400
    assert client.post(f"{act}/verify", {"message": "AAAA", "signature": "AA", "key_version": 7}).status in (400, 404)
    assert client.post(f"{act}/encrypt", {"plaintext": "AAAA"}).json["code"] == "WrongOperation"
    assert client.get(f"/keys/{region.ids['key_id']}/public-key").json["code"] == "WrongOperation"
    assert client.get(f"/keys/{key}/public-key?key_version=1").json["key_version"] == 1


def test_a_batch_has_an_answer_for_each_item(region: Region, client: Client) -> None:
    act = f"/keys/{region.ids['key_id']}/actions"
    items = [{"key_material": b64(b"k%d" % n), "associated_data": b64(b"%d" % n)} for n in range(3)]
    sealed = client.post(f"{act}/wrap-batch", {"items": items}).json
    assert (sealed["failed"], sealed["key_version"], sealed["key_id"]) == (0, 1, region.ids["key_id"])
    opening = [
        {"ciphertext": each["ciphertext"], "associated_data": b64(b"%d" % n)} for n, each in enumerate(sealed["items"])
    ]
    opening[1]["associated_data"] = b64(b"x")
    opened = client.post(f"{act}/unwrap-batch", {"items": opening}).json
    assert opened["failed"] == 1
    assert opened["items"][0] == {"key_material": b64(b"k0")}
    assert opened["items"][1]["error"]["code"] == "Unreadable"
    assert set(opened["items"][1]) == {"error"}
    assert opened["items"][2] == {"key_material": b64(b"k2")}
    refused = client.post(f"{act}/unwrap-batch", {"items": opening, "atomic": True})
    assert (refused.status, refused.json["code"]) == (409, "BatchRefused")
    assert "item 1" in refused.json["message"]
    for wrong in ([], [{"ciphertext": "AAAA"}] * 1001):
        assert client.post(f"{act}/unwrap-batch", {"items": wrong}).status == 400


def test_random_bytes(region: Region, client: Client) -> None:
    path = f"/vaults/{region.ids['vault_id']}/actions/generate-random"
    assert len(base64.b64decode(client.post(path, {"length": 48}).json["random_bytes"])) == 48
    assert client.post(path).json != client.post(path).json
    for wrong in (0, 65_537):
        assert client.post(path, {"length": wrong}).status == 400
