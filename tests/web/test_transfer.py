"""Imports and backups over REST, from the wrapping key to the ciphertext that opens again; warnings."""

import base64
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.web.asgi import Client
from tests.web.region import Region, open_region

from keystead.core.secret import Secret
from keystead.crypto import checkvalue, public, transport
from keystead.crypto.suites import suite_of

pytestmark = pytest.mark.slow


@pytest.fixture
def region(tmp_path: Path) -> Region:
    return open_region(tmp_path)


@pytest.fixture
def client(region: Region) -> Iterator[Client]:
    made = region.client("root")
    yield made
    made.close()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def bring(region: Region, client: Client, name: str, raw: bytes) -> Any:
    ids = region.ids
    asked = client.call("POST", f"/vaults/{ids['vault_id']}/wrapping-keys", {"algorithm": "AES-256"})
    assert asked.status == 201, asked.body
    given = asked.json
    wrapped = transport.wrap(given["wrapping_algorithm"], public.from_pem(given["public_key"]), Secret(raw))
    body = {
        "compartment_id": ids["compartment_id"],
        "vault_id": ids["vault_id"],
        "name": name,
        "wrapping_key_id": given["id"],
        "wrapped_key": b64(wrapped),
    }
    return client.call("POST", "/keys/actions/import", body)


def test_a_key_comes_in_goes_out_and_comes_back(region: Region, client: Client) -> None:
    raw = secrets.token_bytes(32)
    made = bring(region, client, "mine", raw)
    assert made.status == 201, made.body
    assert made.json["key_check_value"] == checkvalue.of_material(suite_of("AES-256"), Secret(raw))
    key = made.json["key"]["id"]
    sealed = client.call("POST", f"/keys/{key}/actions/encrypt", {"plaintext": b64(b"words")}).json["ciphertext"]
    backup = client.call("POST", f"/keys/{key}/actions/backup").json["backup"]
    assert client.call("DELETE", f"/keys/{key}").status == 200
    assert client.call("POST", f"/keys/{key}/actions/purge").status == 200
    again = bring(region, client, "again", raw)
    assert (again.status, again.json["code"]) == (409, "MaterialDestroyed")
    back = client.call("POST", "/keys/actions/restore", {"backup": backup})
    assert (back.status, back.json["key"]["state"]) == (201, "DISABLED")
    assert client.call("POST", f"/keys/{key}/actions/enable").status == 200
    opened = client.call("POST", f"/keys/{key}/actions/decrypt", {"ciphertext": sealed})
    assert base64.b64decode(opened.json["plaintext"]) == b"words"
    other = region.client("other_root")
    refused = other.call("POST", "/keys/actions/restore", {"backup": backup})
    assert (refused.status, refused.json["code"]) == (409, "WrongTrustDomain")
    other.close()


def test_a_key_without_a_backup_is_warned_of_when_a_database_comes_to_depend_on_it(
    region: Region, client: Client
) -> None:
    ids = region.ids
    body = {"compartment_id": ids["compartment_id"], "name": "new", "key_id": ids["key_id"]}
    assert "was never backed up" in client.call("POST", "/db-systems", body).json["warnings"][0]
    change = f"/db-systems/{ids['db_system_id']}/actions/change-key"
    with region.store.note() as tx:
        system = tx.databases.system(ids["tenancy"], ids["db_system_id"])
        assert system is not None
        tx.databases.change(system, replace(system, state="ACTIVE"))
        tx.jobs.cancel_for(system.tenancy, system.id, region.clock.now())
    assert "was never backed up" in client.call("POST", change, {"key_id": ids["key_id"]}).json["warnings"][0]
    client.call("POST", f"/keys/{ids['key_id']}/actions/backup")
    assert client.call("POST", change, {"key_id": ids["key_id"]}).json["warnings"] == []
    assert client.call("POST", change, {"key_id": None}).json["warnings"] == []
