"""Vaults and keys; where plaintext comes from and goes to."""

import base64
import stat
from pathlib import Path

import pytest
from tests.cli.conftest import Keystead
from tests.fakes.region import Region


@pytest.fixture
def keyed(signed_in: Keystead) -> Keystead:
    """With key `finance` in vault `prod`."""
    assert signed_in("vault", "create", "prod").code == 0
    assert signed_in("key", "create", "finance", "--vault", "prod").code == 0
    return signed_in


def test_life_of_a_key(keyed: Keystead, region: Region) -> None:
    assert keyed("key", "rotate", "finance").out == "key finance is ENABLED, current version 2\n"
    assert [it["number"] for it in keyed("key", "versions", "finance", "--json").json] == [1, 2]
    assert keyed("key", "disable", "finance").out == "key finance is DISABLED, current version 2\n"
    again = keyed("key", "disable", "finance")
    assert (again.code, "it cannot disable" in again.err) == (5, True)
    assert keyed("key", "enable", "finance", "--json").json["state"] == "ENABLED"
    assert region.last("POST", "/keys/{key_id}/actions/{verb}").raw == b""
    assert "finance  ENABLED" in keyed("key", "list").out


def test_encrypt_and_decrypt_through_standard_streams(keyed: Keystead) -> None:
    sealed = keyed("key", "encrypt", "finance", "-a", "row 7", stdin=b"\x00\xffsecret")
    assert base64.b64decode(sealed.out).startswith(b"row 7|")
    opened = keyed("key", "decrypt", "finance", "-a", "row 7", "--base64", stdin=sealed.out)
    assert base64.b64decode(opened.out) == b"\x00\xffsecret"
    wrong = keyed("key", "decrypt", "finance", "-a", "row 8", stdin=sealed.out)
    assert (wrong.code, wrong.out) == (1, "")
    assert "[Unreadable]" in wrong.err


def test_files_are_for_their_owner_alone(keyed: Keystead, tmp_path: Path) -> None:
    plain, sealed, back, bound = (tmp_path / name for name in ("plain", "sealed", "back", "bound"))
    plain.write_bytes(b"\x01\x02\x03\n")
    bound.write_bytes(b"context")
    back.write_bytes(b"old")
    back.chmod(0o644)
    about = ("-a", f"@{bound}")
    assert keyed("key", "wrap", "finance", "-i", str(plain), "-o", str(sealed), *about).out == ""
    assert keyed("key", "rewrap", "finance", "-i", str(sealed), *about).code == 0
    assert keyed("key", "unwrap", "finance", "-i", str(sealed), "-o", str(back), *about).out == ""
    assert back.read_bytes() == b"\x01\x02\x03\n"
    assert stat.S_IMODE(back.stat().st_mode) == stat.S_IMODE(sealed.stat().st_mode) == 0o600


def test_json_of_cryptography(keyed: Keystead, tmp_path: Path) -> None:
    answer = keyed("key", "encrypt", "finance", "--json", stdin=b"x").json
    assert (answer["key_version"], base64.b64decode(answer["ciphertext"])) == (1, b"|x")
    out = tmp_path / "plain"
    answer = keyed("key", "decrypt", "finance", "--json", "-o", str(out), stdin=answer["ciphertext"]).json
    assert (answer, out.read_bytes()) == ({}, b"x")


def test_a_data_key_is_shown_in_clear_only_where_that_is_asked(keyed: Keystead, region: Region, tmp_path: Path) -> None:
    ran = keyed("key", "generate-data-key", "finance")
    assert base64.b64decode(ran.out)[:1] == b"|"
    assert region.last("POST", "/keys/{key_id}/actions/{verb}").body == {"include_plaintext": False}
    clear, sealed = tmp_path / "clear", tmp_path / "sealed"
    ran = keyed("key", "generate-data-key", "finance", "--plaintext-out", str(clear), "-o", str(sealed))
    assert (ran.out, clear.read_bytes(), stat.S_IMODE(clear.stat().st_mode)) == ("", bytes(range(32)), 0o600)
    assert keyed("key", "generate-data-key", "finance", "--plaintext-out", "-").code == 2
    ran = keyed("key", "generate-data-key", "finance", "--plaintext-out", str(clear), "--json")
    assert "plaintext" not in ran.json


@pytest.mark.parametrize("act", ["decrypt", "unwrap", "rewrap"])
def test_what_is_not_base64_is_not_sent(keyed: Keystead, region: Region, act: str) -> None:
    region.exchanges.clear()
    ran = keyed("key", act, "finance", stdin=b"\xff\xfe not base64")
    assert (ran.code, "not base64" in ran.err) == (2, True)
    assert region.exchanges == []


def test_a_file_that_is_not_there(keyed: Keystead, tmp_path: Path) -> None:
    ran = keyed("key", "encrypt", "finance", "-i", str(tmp_path / "none"))
    assert (ran.code, "No such file" in ran.err) == (2, True)
    ran = keyed("key", "encrypt", "finance", "-o", str(tmp_path / "none" / "x"), stdin=b"x")
    assert (ran.code, "cannot write" in ran.err) == (1, True)


def test_a_vault_in_another_compartment(keyed: Keystead, region: Region) -> None:
    keyed("compartment", "create", "apps")
    ran = keyed("key", "create", "k", "-c", "apps", "--vault", "/prod", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["vault_id"] == keyed("vault", "show", "prod", "--json").json["id"]
