"""The Vault dialect as hvac speaks it, unmodified, over the application in this process."""

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest
from hvac.exceptions import Forbidden, InvalidPath, InvalidRequest
from tests.dialects.wire import session
from tests.web.region import PASSWORD, Region, open_region

MOUNT = "prod/vault"
TOO_OLD = r"disallowed by policy \(too old\)"


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return open_region(tmp_path_factory.mktemp("region"))


def client_of(region: Region, who: str = "root", **given: Any) -> hvac.Client:
    token = region.tokens.get(who, who)
    return hvac.Client("https://region", token=token, session=session(region.client("")), **given)


@pytest.fixture(scope="module")
def vault(region: Region) -> Iterator[hvac.Client]:
    client = client_of(region)
    yield client
    client.session.close()


@pytest.fixture
def key(vault: hvac.Client) -> str:
    name = f"key-{secrets.token_hex(4)}"
    vault.secrets.transit.create_key(name, mount_point=MOUNT)
    return name


def encrypted(vault: hvac.Client, name: str, plaintext: bytes = b"words", **given: Any) -> str:
    made = vault.secrets.transit.encrypt_data(name, b64(plaintext), mount_point=MOUNT, **given)
    return str(made["data"]["ciphertext"])


def decrypted(vault: hvac.Client, name: str, ciphertext: str, **given: Any) -> bytes:
    made = vault.secrets.transit.decrypt_data(name, ciphertext, mount_point=MOUNT, **given)
    return base64.b64decode(made["data"]["plaintext"])


# the region


def test_health_and_seal(region: Region, vault: hvac.Client) -> None:
    assert vault.sys.read_health_status().status_code == 200
    found = vault.sys.read_health_status(method="GET")
    assert (found["sealed"], found["standby"], found["initialized"]) == (False, False, True)
    assert vault.sys.is_initialized() and not vault.sys.is_sealed()
    assert vault.sys.read_seal_status()["cluster_name"] == "home"
    assert vault.sys.read_leader_status()["ha_enabled"] is False


def test_a_sealed_region_says_so_everywhere(tmp_path: Path) -> None:
    from dataclasses import replace

    region = open_region(tmp_path)
    region.services = replace(region.services, sealed=lambda: True)
    vault = client_of(region)
    assert vault.sys.read_health_status().status_code == 503
    assert vault.sys.read_health_status(sealed_code=299, method="GET").json()["sealed"] is True
    assert vault.sys.is_sealed()
    with pytest.raises(hvac.exceptions.VaultDown, match="Vault is sealed"):
        vault.secrets.transit.read_key("key", mount_point=MOUNT)


def test_the_callers_own_token(region: Region, vault: hvac.Client) -> None:
    assert vault.is_authenticated()
    found = vault.auth.token.lookup_self()["data"]
    assert found["display_name"] == "root" and found["entity_id"] == region.ids["root"]
    assert 0 < found["ttl"] <= 3600 and found["renewable"] is False
    assert region.tokens["root"] not in str(found)
    with pytest.raises(InvalidRequest, match="lease is not renewable"):
        vault.auth.token.renew_self()


def test_log_in_by_password_and_revoke(region: Region) -> None:
    vault = client_of(region, "")
    with pytest.raises(InvalidRequest, match="invalid username or password"):
        vault.auth.userpass.login("acme/root", "wrong")
    with pytest.raises(Forbidden):
        vault.secrets.transit.list_keys(mount_point=MOUNT)
    issued = vault.auth.userpass.login("acme/root", PASSWORD)["auth"]
    assert issued["lease_duration"] == 3600 and vault.token == issued["client_token"]
    assert "key" in vault.secrets.transit.list_keys(mount_point=MOUNT)["data"]["keys"]
    vault.auth.token.revoke_self()
    assert not vault.is_authenticated()


def test_log_in_by_app_role(tmp_path: Path) -> None:
    """The role is a user, the secret an auth token of theirs."""
    region = open_region(tmp_path)
    iam, caller, user_id = region.services.iam, region.caller("root"), region.ids["nobody"]
    _, text = iam.create_auth_token(caller, user_id, "app", days=2)
    _, other = iam.create_auth_token(caller, region.ids["user_id"], "app")
    vault, secret = client_of(region, ""), text.reveal().decode()
    issued = vault.auth.approle.login(user_id, secret)["auth"]
    assert issued["lease_duration"] == 3600 and issued["entity_id"] == user_id
    assert vault.auth.token.lookup_self()["data"]["display_name"] == "nobody"
    assert secret not in str(region.log.entries)

    def refused(role: str, given: str) -> None:
        before = len(region.log.entries)
        with pytest.raises(InvalidRequest) as refusal:
            vault.auth.approle.login(role, given)
        assert refusal.value.errors == ["invalid role or secret ID"]
        assert [entry.outcome for entry in region.log.entries[before:]] == ["refused"]
        assert len(given) < 40 or given not in str(region.log.entries[before:])

    for role, given in (
        (user_id, ""),
        (user_id, "x"),
        (user_id, secret[:-1]),
        (user_id, secret + "x"),
        (user_id, other.reveal().decode()),
        (region.ids["root"], secret),
        ("", secret),
    ):
        refused(role, given)
    iam.update_user(caller, user_id, "BLOCKED")
    refused(user_id, secret)
    iam.update_user(caller, user_id, "ACTIVE")
    vault.auth.approle.login(user_id, secret)
    region.clock.advance(2 * 86400)
    refused(user_id, secret)
    again, text = iam.create_auth_token(region.caller_again("root"), user_id, "again")
    vault.auth.approle.login(user_id, text.reveal().decode())
    iam.delete_auth_token(region.caller_again("root"), user_id, again.id)
    refused(user_id, text.reveal().decode())


# keys


def test_the_life_of_a_key(vault: hvac.Client, key: str) -> None:
    transit = vault.secrets.transit
    found = transit.read_key(key, mount_point=MOUNT)["data"]
    assert (found["type"], found["latest_version"], found["exportable"]) == ("aes256-gcm96", 1, False)
    assert key in transit.list_keys(mount_point=MOUNT)["data"]["keys"]
    transit.create_key(key, mount_point=MOUNT)  # again: stays as it is
    old = encrypted(vault, key)
    transit.rotate_key(key, mount_point=MOUNT)
    new = encrypted(vault, key)
    assert old.startswith("vault:v1:") and new.startswith("vault:v2:")
    assert decrypted(vault, key, old) == decrypted(vault, key, new) == b"words"
    rewrapped = transit.rewrap_data(key, old, mount_point=MOUNT)["data"]["ciphertext"]
    assert rewrapped.startswith("vault:v2:") and decrypted(vault, key, rewrapped) == b"words"
    transit.update_key_configuration(key, min_decryption_version=2, mount_point=MOUNT)
    with pytest.raises(InvalidRequest, match=TOO_OLD):
        decrypted(vault, key, old)
    assert decrypted(vault, key, new) == b"words"
    with pytest.raises(InvalidRequest, match="deletion is not allowed"):
        transit.delete_key(key, mount_point=MOUNT)
    transit.update_key_configuration(key, deletion_allowed=True, mount_point=MOUNT)
    assert transit.delete_key(key, mount_point=MOUNT).status_code == 204
    with pytest.raises(InvalidPath):
        transit.read_key(key, mount_point=MOUNT)
    with pytest.raises(InvalidRequest, match="encryption key not found"):
        decrypted(vault, key, new)
    assert key not in transit.list_keys(mount_point=MOUNT)["data"]["keys"]
    with pytest.raises(InvalidRequest, match="can still be recovered"):
        transit.create_key(key, mount_point=MOUNT)


def test_settings(vault: hvac.Client, key: str) -> None:
    vault.secrets.transit.update_key_configuration(key, auto_rotate_period="2160h", mount_point=MOUNT)
    assert vault.secrets.transit.read_key(key, mount_point=MOUNT)["data"]["auto_rotate_period"] == 90 * 86400
    for wrong in ({"auto_rotate_period": "1h"}, {"exportable": True}, {"min_decryption_version": 7}):
        with pytest.raises(InvalidRequest):
            vault.secrets.transit.update_key_configuration(key, mount_point=MOUNT, **wrong)
    for wrong in ({"key_type": "chacha20-poly1305"}, {"derived": True}, {"exportable": True}):
        with pytest.raises(InvalidRequest):
            vault.secrets.transit.create_key("other", mount_point=MOUNT, **wrong)


def test_what_is_not_there(vault: hvac.Client) -> None:
    with pytest.raises(InvalidPath):
        vault.secrets.transit.read_key("none", mount_point=MOUNT)
    with pytest.raises(InvalidPath):
        vault.secrets.transit.list_keys(mount_point="prod/none")
    with pytest.raises(InvalidRequest, match="encryption key not found"):
        encrypted(vault, "none")
    with pytest.raises(InvalidPath):
        vault.secrets.kv.v2.read_secret_version("nothing", raise_on_deleted_version=True)
    with pytest.raises(InvalidPath):
        vault.secrets.kv.v2.list_secrets("nothing")


def test_what_may_be_known_of_a_key_is_read_by_the_key_value_engine(vault: hvac.Client) -> None:
    vault.secrets.transit.create_key("told", key_type="rsa-2048", mount_point=MOUNT)
    first = vault.secrets.transit.read_key("told", mount_point=MOUNT)["data"]
    vault.secrets.transit.rotate_key("told", mount_point=MOUNT)
    kv = vault.secrets.kv.v2
    now = kv.read_secret_version("told", mount_point=MOUNT, raise_on_deleted_version=True)["data"]
    assert now["metadata"]["version"] == 2 and now["metadata"]["destroyed"] is False
    assert now["data"]["type"] == "rsa-2048" and now["data"]["state"] == "ENABLED"
    old = kv.read_secret_version("told", version=1, mount_point=MOUNT, raise_on_deleted_version=True)["data"]["data"]
    assert old["public_key"] == first["keys"]["1"]["public_key"] != now["data"]["public_key"]
    with pytest.raises(InvalidPath):
        kv.read_secret_version("told", version=3, mount_point=MOUNT, raise_on_deleted_version=True)
    told = kv.read_secret_metadata("told", mount_point=MOUNT)["data"]
    assert (told["current_version"], sorted(told["versions"])) == (2, ["1", "2"])
    assert "told" in kv.list_secrets("", mount_point=MOUNT)["data"]["keys"]
    with pytest.raises(hvac.exceptions.VaultError):
        kv.create_or_update_secret("told", {"a": "b"}, mount_point=MOUNT)


def test_a_namespace_goes_before_the_mount(region: Region) -> None:
    vault = client_of(region, namespace="prod")
    assert vault.secrets.transit.read_key("key", mount_point="vault")["data"]["key_id"] == region.ids["key_id"]
    vault.session.close()


# cryptography


def test_associated_data(vault: hvac.Client, key: str) -> None:
    sealed = encrypted(vault, key, associated_data=b64(b"row 7"))
    assert decrypted(vault, key, sealed, associated_data=b64(b"row 7")) == b"words"
    for wrong in ({}, {"associated_data": b64(b"row 8")}):
        with pytest.raises(InvalidRequest, match="message authentication failed"):
            decrypted(vault, key, sealed, **wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("nonsense", "no prefix"),
        ("vault:v1:!!!", "could not decode base64"),
        ("vault:v0:AAAA", "version number could not be decoded"),
        ("vault:v1:" + b64(bytes(200)), "message authentication failed"),
    ],
)
def test_bad_ciphertexts(vault: hvac.Client, key: str, wrong: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        decrypted(vault, key, wrong)


def test_a_ciphertext_under_another_versions_number_does_not_open(vault: hvac.Client, key: str) -> None:
    sealed = encrypted(vault, key)
    vault.secrets.transit.rotate_key(key, mount_point=MOUNT)
    with pytest.raises(InvalidRequest, match="message authentication failed"):
        decrypted(vault, key, "vault:v2:" + sealed.removeprefix("vault:v1:"))


@pytest.mark.parametrize("bits", [128, 256, 512])
def test_data_keys(vault: hvac.Client, key: str, bits: int) -> None:
    transit = vault.secrets.transit
    made = transit.generate_data_key(key, "plaintext", bits=bits, mount_point=MOUNT)["data"]
    assert base64.b64decode(made["plaintext"]) == decrypted(vault, key, made["ciphertext"])
    assert len(base64.b64decode(made["plaintext"])) == bits // 8
    assert "plaintext" not in transit.generate_data_key(key, "wrapped", bits=bits, mount_point=MOUNT)["data"]


@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("ed25519", [{}]),
        ("ml-dsa-65", [{}]),
        ("ecdsa-p256", [{}, {"hash_algorithm": "sha2-512"}, {"marshaling_algorithm": "jws"}]),
        ("ecdsa-p521", [{"marshaling_algorithm": "jws"}]),
        ("rsa-2048", [{}, {"signature_algorithm": "pkcs1v15"}, {"hash_algorithm": "sha2-384", "prehashed": True}]),
    ],
)
def test_signatures(vault: hvac.Client, kind: str, ways: list[dict[str, Any]]) -> None:
    transit, name = vault.secrets.transit, f"signs-{kind}"
    vault.adapter.post(f"/v1/{MOUNT}/keys/{name}", json={"type": kind})  # hvac knows fewer kinds than there are
    assert transit.read_key(name, mount_point=MOUNT)["data"]["keys"]["1"]["public_key"]
    for way in ways:
        text, other = (b64(b"d" * 48), b64(b"e" * 48)) if way.get("prehashed") else (b64(b"words"), b64(b"other"))
        signature = transit.sign_data(name, text, mount_point=MOUNT, **way)["data"]["signature"]
        check = {"signature": signature, "mount_point": MOUNT, **way}
        assert transit.verify_signed_data(name, text, **check)["data"]["valid"] is True
        assert transit.verify_signed_data(name, other, **check)["data"]["valid"] is False
    with pytest.raises(InvalidRequest, match="cannot encrypt") if kind != "rsa-2048" else _nothing():
        encrypted(vault, name)


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.parametrize("algorithm", [None, "sha2-224", "sha2-384", "sha2-512"])
def test_macs(vault: hvac.Client, key: str, algorithm: str | None) -> None:
    transit = vault.secrets.transit
    code = transit.generate_hmac(key, b64(b"words"), algorithm=algorithm, mount_point=MOUNT)["data"]["hmac"]
    given = {"hmac": code, "mount_point": MOUNT} | ({"hash_algorithm": algorithm} if algorithm else {})
    assert code.startswith("vault:v1:")
    assert transit.verify_signed_data(key, b64(b"words"), **given)["data"]["valid"] is True
    assert transit.verify_signed_data(key, b64(b"other"), **given)["data"]["valid"] is False
    transit.rotate_key(key, mount_point=MOUNT)
    assert transit.verify_signed_data(key, b64(b"words"), **given)["data"]["valid"] is True


def test_batches(vault: hvac.Client, key: str) -> None:
    transit = vault.secrets.transit
    items = [{"plaintext": b64(b"%d" % number), "reference": str(number)} for number in range(5)]
    sealed = transit.encrypt_data(key, batch_input=items, mount_point=MOUNT)["data"]["batch_results"]
    assert [item["reference"] for item in sealed] == [str(number) for number in range(5)]
    transit.rotate_key(key, mount_point=MOUNT)
    back = [{"ciphertext": item["ciphertext"]} for item in sealed]
    newer = transit.rewrap_data(key, "", batch_input=back, mount_point=MOUNT)["data"]["batch_results"]
    assert all(item["ciphertext"].startswith("vault:v2:") for item in newer)
    opened = transit.decrypt_data(key, batch_input=newer, mount_point=MOUNT)["data"]["batch_results"]
    assert [base64.b64decode(item["plaintext"]) for item in opened] == [b"%d" % number for number in range(5)]


def test_a_batch_of_which_a_part_fails(vault: hvac.Client, key: str) -> None:
    good = encrypted(vault, key)
    items = [{"ciphertext": good, "reference": "a"}, {"ciphertext": "bad"}, {"ciphertext": good[:-8]}, {}]
    path = f"{MOUNT}/decrypt/{key}"
    with pytest.raises(InvalidRequest, match="no prefix"):
        vault.adapter.post(f"/v1/{path}", json={"batch_input": items})
    answer = vault.adapter.post(f"/v1/{path}", json={"batch_input": items, "partial_failure_response_code": 207})
    assert answer.status_code == 207
    results = answer.json()["data"]["batch_results"]
    assert results[0] == {"plaintext": b64(b"words"), "reference": "a"}
    assert [bool(item.get("error")) for item in results] == [False, True, True, True]


def test_batches_of_signatures_of_several_versions(vault: hvac.Client) -> None:
    transit, name = vault.secrets.transit, "batch-signs"
    transit.create_key(name, key_type="ed25519", mount_point=MOUNT)
    items = [{"input": b64(b"%d" % number)} for number in range(3)]
    old = transit.sign_data(name, batch_input=items, mount_point=MOUNT)["data"]["batch_results"]
    transit.rotate_key(name, mount_point=MOUNT)
    new = transit.sign_data(name, batch_input=items, mount_point=MOUNT)["data"]["batch_results"]
    mixed = [items[n] | {"signature": (old if n % 2 else new)[n]["signature"]} for n in range(3)]
    mixed += [{"input": b64(b"x"), "signature": old[0]["signature"]}, {"input": b64(b"x"), "signature": "bad"}]
    answer = vault.adapter.post(f"/v1/{MOUNT}/verify/{name}", json={"batch_input": mixed})
    found = answer["data"]["batch_results"]
    assert [item["valid"] for item in found] == [True, True, True, False, False]
    assert found[4]["error"] == "invalid signature: no prefix"


def test_random_bytes(vault: hvac.Client) -> None:
    made = vault.secrets.transit.generate_random_bytes(16, "hex", mount_point=MOUNT)
    assert len(bytes.fromhex(made["data"]["random_bytes"])) == 16


# one key, two protocols


def test_what_one_protocol_seals_the_other_opens(region: Region, vault: hvac.Client) -> None:
    ours = region.client("root")
    actions = f"/keys/{region.ids['key_id']}/actions"
    sealed = encrypted(vault, "key", associated_data=b64(b"row 7")).removeprefix("vault:v1:")
    opened = ours.post(f"{actions}/decrypt", {"ciphertext": sealed, "associated_data": b64(b"row 7")})
    assert base64.b64decode(opened.json["plaintext"]) == b"words"
    assert decrypted(vault, "key", f"vault:v1:{region.ids['encrypted']}") == b"words"
    assert decrypted(vault, "key", f"vault:v1:{region.ids['wrapped']}") == b"k" * 32
    assert decrypted(vault, region.ids["key_id"], f"vault:v1:{region.ids['wrapped']}") == b"k" * 32
    data_key = vault.secrets.transit.generate_data_key("key", "plaintext", mount_point=MOUNT)["data"]
    wrapped = data_key["ciphertext"].removeprefix("vault:v1:")
    unwrapped = ours.post(f"{actions}/unwrap", {"ciphertext": wrapped}).json["key_material"]
    assert unwrapped == data_key["plaintext"]
    ours.close()


def test_a_key_that_our_api_disables_stops_here_at_once(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    vault, ours, caller = client_of(region), region.services.vaults, region.caller("root")
    key_id = ours.create_key(caller, region.ids["compartment_id"], region.ids["vault_id"], "own").id
    sealed = encrypted(vault, "own")
    code = vault.secrets.transit.generate_hmac("own", b64(b"x"), mount_point=MOUNT)["data"]["hmac"]
    assert decrypted(vault, "own", sealed) == b"words"
    calls = [
        lambda: decrypted(vault, "own", sealed),
        lambda: encrypted(vault, "own"),
        lambda: vault.secrets.transit.rewrap_data("own", sealed, mount_point=MOUNT),
        lambda: vault.secrets.transit.generate_data_key("own", "wrapped", mount_point=MOUNT),
        lambda: vault.secrets.transit.generate_hmac("own", b64(b"x"), mount_point=MOUNT),
        lambda: vault.secrets.transit.verify_signed_data("own", b64(b"x"), hmac=code, mount_point=MOUNT),
        lambda: vault.secrets.transit.decrypt_data("own", batch_input=[{"ciphertext": sealed}], mount_point=MOUNT),
    ]
    for taking, undoing in (
        (ours.disable, [ours.enable]),
        (ours.schedule_deletion, [ours.cancel_deletion, ours.enable]),
    ):
        taking(caller, key_id)
        for call in calls:
            with pytest.raises(InvalidRequest, match=f"{TOO_OLD}.*key 'own' is "):
                call()
        assert vault.secrets.transit.read_key("own", mount_point=MOUNT)["data"]["state"] != "ENABLED"
        for step in undoing:
            step(caller, key_id)
        assert decrypted(vault, "own", sealed) == b"words"


def test_what_is_taken_away_here_is_taken_away_from_our_api(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    vault, ours = client_of(region), region.client("root")
    transit = vault.secrets.transit
    path = f"/keys/{transit.create_key('own', mount_point=MOUNT)['data']['key_id']}"
    open_it = (f"{path}/actions/decrypt", {"ciphertext": encrypted(vault, "own").removeprefix("vault:v1:")})
    assert ours.post(*open_it).status == 200
    transit.rotate_key("own", mount_point=MOUNT)
    transit.update_key_configuration("own", min_decryption_version=2, mount_point=MOUNT)
    assert (ours.post(*open_it).status, ours.post(*open_it).json["code"]) == (409, "KeyNotUsable")
    transit.update_key_configuration("own", min_decryption_version=1, deletion_allowed=True, mount_point=MOUNT)
    assert ours.post(*open_it).status == 200
    transit.delete_key("own", mount_point=MOUNT)
    assert (ours.post(*open_it).status, ours.post(*open_it).json["code"]) == (409, "KeyNotUsable")
    assert ours.get(path).json["state"] == "DELETED"
    ours.close()


def test_a_key_that_something_needs_is_not_deleted_here(tmp_path: Path) -> None:
    """There is no way to confirm it in this protocol: who means it says so through our API."""
    vault = client_of(open_region(tmp_path))
    vault.secrets.transit.update_key_configuration("key", deletion_allowed=True, mount_point=MOUNT)
    with pytest.raises(InvalidRequest, match="still needed by 3: database system 'flights'"):
        vault.secrets.transit.delete_key("key", mount_point=MOUNT)
    assert encrypted(vault, "key")


# who may


def test_who_may_not_see_it_sees_what_is_not_there(region: Region) -> None:
    """Another tenancy, and a user without any grant: word for word the answer of names that name nothing."""
    key_id = region.ids["key_id"]
    for who, names in (("nobody", ("key", key_id, "none")), ("other_root", (key_id, "none"))):
        vault = client_of(region, who)
        for name in names:
            with pytest.raises(InvalidRequest) as refused:
                vault.secrets.transit.decrypt_data(name, f"vault:v1:{region.ids['encrypted']}", mount_point=MOUNT)
            assert refused.value.errors == ["encryption key not found"]
            with pytest.raises(InvalidPath) as refused:
                vault.secrets.transit.read_key(name, mount_point=MOUNT)
            assert refused.value.errors == []
        vault.session.close()


def test_who_may_see_but_not_use_it_is_told_what_is_missing(tmp_path: Path) -> None:
    region = open_region(tmp_path)
    root, vault = region.client("root"), client_of(region, "nobody")
    group = root.post("/groups", {"name": "Readers"}).json["id"]
    root.call("PUT", f"/groups/{group}/members/{region.ids['nobody']}")
    statement = "Allow group Readers to read keys in tenancy"
    root.post("/policies", {"compartment_id": region.ids["tenancy"], "name": "r", "statements": [statement]})
    assert vault.secrets.transit.read_key("key", mount_point=MOUNT)["data"]["name"] == "key"
    with pytest.raises(Forbidden) as refused:
        encrypted(vault, "key")
    assert refused.value.errors[0] == "permission denied"
    assert "KEY_ENCRYPT" in refused.value.errors[1]
    root.close()


def test_what_is_done_here_is_in_the_audit_log(region: Region, vault: hvac.Client, key: str) -> None:
    before = len(region.log.entries)
    decrypted(vault, key, encrypted(vault, key))
    found = [(entry.operation, entry.outcome, entry.resource_name) for entry in region.log.entries[before:]]
    assert found == [("Encrypt", "allowed", key), ("Decrypt", "allowed", key)]
    with pytest.raises(InvalidPath):
        vault.secrets.kv.v2.read_secret_version("some/where", raise_on_deleted_version=True)
    entry = region.log.entries[-1]
    assert (entry.operation, entry.outcome, entry.resource_id) == ("VaultNoSecret", "refused", "")
    assert entry.resource_name == "GET /v1/secret/data/some/where"
