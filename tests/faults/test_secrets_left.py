"""A whole life of a region: no key, token or plaintext is left anywhere but where it must be."""

import base64
import json
from itertools import product
from pathlib import Path

import pytest
from tests.faults import secrets_left
from tests.faults.machine import everything
from tests.faults.region import Refused, Region

pytestmark = pytest.mark.live


def test_a_whole_life(region: Region) -> None:
    shown = json.loads(region.credentials_file.read_text())
    region.cli(
        "login", "--url", f"https://127.0.0.1:{region.port}", "--ca", shown["ca"], "--tenancy", region.tenancy,
        "--user", region.user, "--password-stdin", stdin=shown["password"] + "\n",
    )  # fmt: skip
    key = region.key("finance")
    system = region.create(key, "flights")
    region.fill(system)
    data = region.post(f"/keys/{key}/actions/generate-data-key", {"include_plaintext": True})
    region.learn("a generated data key", base64.b64decode(data["plaintext"]))
    sealed = region.post(f"/keys/{key}/actions/encrypt", {"plaintext": base64.b64encode(CANARY).decode()})
    region.learn("an encrypted plaintext", CANARY)
    opened = region.post(f"/keys/{key}/actions/decrypt", {"ciphertext": sealed["ciphertext"]})
    assert base64.b64decode(opened["plaintext"]) == CANARY
    user = region.post("/users", {"name": "eve"})
    region.learn("a user's password", user["password"])
    region.cli("key", "rotate", "finance", "--compartment", "prod")
    region.cli("db", "change-key", "flights", "--key", "finance", "--compartment", "prod")
    region.cli("db", "rotate-data-keys", "flights", "--compartment", "prod")
    region.cli("db", "verify", "flights", "--compartment", "prod")
    backup, job = region.begin_backup(system)
    region.done(job)
    copy = region.begin_restore(backup, region.key("copies"))
    region.done(copy.job)
    region.disable(key)
    region.wait_state(system, "INACCESSIBLE")
    region.enable(key)
    region.wait_state(system, "ACTIVE")
    region.cli("--json", "audit", "list")
    region.cli("state", "backup", str(region.base / "state.backup"))
    region.delete(copy)


CANARY = b"a plaintext that nobody else may see"


def test_mistakes_are_not_repeated_back(region: Region) -> None:
    """Secrets where they do not belong: in names, fields, headers, paths. No answer or log repeats them."""
    password, token = "Secret-password-of-nobody-77", "tok-" + "x9" * 20  # made up for this
    region.learn("a password in a wrong place", password)
    region.learn("a token in a wrong place", token)
    wrong = [
        ("POST", "/auth/tokens", {"tenancy": region.tenancy, "user": region.user, "password": password}),
        ("POST", "/auth/tokens", {"tenancy": region.tenancy, "user": region.user, "passwort": password}),
        ("POST", "/auth/tokens", {"tenancy": region.tenancy, "user": {"name": password}, "password": password}),
        ("GET", f"/keys/{token}", None),
        ("POST", "/keys", {"compartment_id": region.compartment, "vault_id": token, "name": "x"}),
    ]
    for method, path, body in wrong:
        with pytest.raises(Refused):
            region.call(method, path, body)
    with pytest.raises(Refused):
        region.call("GET", "/users", token=token)


def test_nothing_is_left(region: Region) -> None:
    secrets_left.check(region)
    kinds = {what.split()[0] for what in region.secrets}
    assert {"the", "subkey", "key", "store", "data", "password", "security", "plaintext", "region's"} <= kinds


def test_what_is_left_would_be_found(region: Region) -> None:
    """The search itself: secrets of each kind, in each form, put where they must not be."""
    planted = {}
    places = (region.state / "log", region.data, region.memory)
    whats = ("the root key", "security token", "plaintext of flights", "region's passphrase")
    for number, (what, place, form) in enumerate(product(whats, places, FORMS)):
        path = place / f"planted-{number}"
        planted[str(path)] = what
        path.write_bytes(b"before " + form(region.secrets[what]) + b" after")
    try:
        assert {(what, where) for where, what in planted.items()} <= set(secrets_left.in_files(region))
    finally:
        for name in planted:
            Path(name).unlink()


FORMS = (bytes, lambda secret: secret.hex().encode(), base64.b64encode, base64.urlsafe_b64encode)


def test_command_lines_are_seen(region: Region) -> None:
    assert any(b"mariadbd" in words for words in region.words_seen())
    assert any(b"mariadb-backup" in words for words in region.words_seen())
    assert any(b"keystead" in word for found in everything() for word in found.words)
