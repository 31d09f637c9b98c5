"""Vaults and keys; where plaintext comes from and goes to."""

import base64
import hashlib
import json
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
    assert (again.code, again.out) == (0, "key finance is DISABLED already, current version 2\n")
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


def test_a_signature_made_and_checked(keyed: Keystead, region: Region, tmp_path: Path) -> None:
    message, signature = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(b"words")
    about = ("finance", "-i", str(message), "--scheme", "ECDSA-SHA256")
    assert keyed("key", "sign", *about, "-o", str(signature)).out == ""
    assert keyed("key", "verify", *about, "-s", str(signature)).out == "the signature holds\n"
    assert keyed("key", "sign", *about, "--raw", "-o", str(signature)).code == 0
    assert signature.read_bytes().startswith(b"signed|")
    assert keyed("key", "verify", *about, "-s", str(signature)).code == 0
    message.write_bytes(b"other")
    wrong = keyed("key", "verify", *about, "-s", str(signature), "--json")
    assert (wrong.code, wrong.json) == (1, {"valid": False})
    assert "does not hold" in wrong.err
    assert keyed("key", "sign", *about, "--json").json["scheme"] == "ECDSA-SHA256"


def test_what_is_too_large_is_hashed_here(keyed: Keystead, region: Region) -> None:
    large = bytes(100_000)
    assert keyed("key", "sign", "finance", "--hash", "--scheme", "RSA-PSS-SHA384", stdin=large).code == 0
    sent = region.last("POST", "/keys/{key_id}/actions/{verb}").body
    assert base64.b64decode(sent["digest"]) == hashlib.sha384(large).digest()
    assert "message" not in sent
    for wrong in (("--hash",), ("--hash", "--scheme", "ED25519"), ("--hash", "--digest")):
        assert keyed("key", "sign", "finance", *wrong, stdin=b"x").code == 2


def test_a_public_key_is_shown_as_pem_or_jwk(keyed: Keystead) -> None:
    assert keyed("key", "public", "finance").out.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert json.loads(keyed("key", "public", "finance", "--jwk").out)["kty"] == "OKP"
    assert keyed("key", "public", "finance", "--key-version", "7", "--json").json["key_version"] == 7


def test_a_batch_reads_and_writes_json_lines(keyed: Keystead, region: Region) -> None:
    items = [{"key_material": base64.b64encode(b"k%d" % n).decode()} for n in range(1001)]
    sealed = keyed("key", "batch", "finance", "wrap", stdin="\n".join(map(json.dumps, items)).encode())
    lines = [json.loads(line) for line in sealed.out.splitlines()]
    assert len(lines) == 1001
    assert len(region.last("POST", "/keys/{key_id}/actions/{verb}").body["items"]) == 1, "in requests of 1000"
    broken = json.dumps(lines[0]) + "\n" + json.dumps({"ciphertext": "AAAA"})
    opened = keyed("key", "batch", "finance", "unwrap", stdin=broken.encode())
    good, bad = (json.loads(line) for line in opened.out.splitlines())
    assert (good, bad["error"]["code"]) == (items[0], "Unreadable")
    assert (opened.code, "1 of 2 items failed" in opened.err) == (1, True)
    assert keyed("key", "batch", "finance", "unwrap", "--json", stdin=broken.encode()).json["failed"] == 1
    for wrong in (("shred", b"{}"), ("wrap", b""), ("wrap", b"[]"), ("wrap", b"nonsense")):
        assert keyed("key", "batch", "finance", wrong[0], stdin=wrong[1]).code == 2


def test_random_bytes(keyed: Keystead, tmp_path: Path) -> None:
    assert keyed("random", "4", "--vault", "prod").out == "00010203\n"
    assert keyed("random", "3", "-v", "prod", "--base64").out == "AAEC\n"
    out = tmp_path / "random"
    assert keyed("random", "16", "-v", "prod", "--raw", "-o", str(out)).out == ""
    assert out.read_bytes() == bytes(range(16))
