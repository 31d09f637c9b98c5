"""Bring your own key and backups on the command line: nothing leaves in clear, and files are whole or not there."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from tests.cli.conftest import Keystead
from tests.fakes.region import Region

from keystead.cli import material
from keystead.cli.exits import CliError
from keystead.core.secret import Secret
from keystead.crypto import asymmetric
from keystead.crypto.suites import suite_of

pytestmark = pytest.mark.slow

RAW = bytes(range(100, 132))
SPELLINGS = (RAW, RAW.hex().encode(), base64.b64encode(RAW), base64.urlsafe_b64encode(RAW))


@pytest.fixture
def ready(signed_in: Keystead) -> Keystead:
    signed_in("vault", "create", "v")
    return signed_in


def sent(region: Region) -> bytes:
    return b"".join(seen.raw + seen.target.encode() for seen in region.exchanges)


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_the_key_is_wrapped_here_and_never_sent_otherwise(ready: Keystead, region: Region, way: str) -> None:
    Path("k").write_bytes(RAW)
    given = ("k", None) if way == "file" else ("-", RAW)
    ran = ready("key", "import", "mine", "-v", "v", "--in", given[0], stdin=given[1])
    assert ran.code == 0, ran.err
    assert region.arrived == [RAW]
    assert "version 1 is what you brought" in ran.out
    assert "check value AES-CMAC:" in ran.out
    for spelling in SPELLINGS:
        assert spelling not in sent(region)
        assert spelling not in (ran.out + ran.err).encode()


def test_a_key_is_read_from_pkcs12_with_the_password_of_a_file(ready: Keystead, region: Region) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(b"for tests")
    Path("k.pfx").write_bytes(pkcs12.serialize_key_and_certificates(None, key, None, None, locked))
    Path("word").write_text("for tests\n")
    line = ("key", "import", "mine", "-v", "v", "--algorithm", "EC-P256", "--in", "k.pfx")
    refused = ready(*line)
    assert (refused.code, region.arrived) != (0, [b""])
    assert "not a sound key of EC-P256" in refused.err
    ran = ready(*line, "--password-file", "word")
    assert ran.code == 0, ran.err
    assert region.arrived == [asymmetric.pkcs8(key).reveal()]


def test_two_steps_and_no_network_in_between(ready: Keystead, region: Region, keystead: Keystead) -> None:
    assert ready("key", "import-params", "-v", "v", "-o", "params.json", "--pem", "kek.pem").code == 0
    assert Path("kek.pem").read_text() == json.loads(Path("params.json").read_text())["public_key"]
    before = len(region.exchanges)
    Path("k").write_text(RAW.hex())
    made = keystead("key", "wrap-material", "--params", "params.json", "--in", "k", "-o", "wrapped.json")
    assert made.code == 0, made.err
    assert len(region.exchanges) == before
    assert all(spelling not in Path("wrapped.json").read_bytes() for spelling in SPELLINGS)
    assert Path("wrapped.json").stat().st_mode & 0o777 == 0o600
    ran = ready("--json", "key", "import", "mine", "-v", "v", "--wrapped", "wrapped.json")
    assert ran.code == 0, ran.err
    assert region.arrived == [RAW]
    assert ran.json["key_check_value"] in made.err


def test_transfer_blobs_go_as_they_are(ready: Keystead, region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    rsa = asymmetric.generate(suite_of("RSA-4096"))
    monkeypatch.setattr(asymmetric, "generate", lambda suite: Secret(rsa.reveal()))
    Path("k").write_bytes(RAW)
    assert ready("key", "import-params", "-v", "v", "--wrapping", "RSA-AES-KWP", "-o", "p.json").code == 0
    assert ready("key", "wrap-material", "--params", "p.json", "--in", "k", "--byok", "-o", "k.byok").code == 0
    assert json.loads(Path("k.byok").read_text())["header"]["enc"] == "CKM_RSA_AES_KEY_WRAP"
    ran = ready("key", "import", "mine", "-v", "v", "--wrapped", "k.byok")
    assert ran.code == 0, ran.err
    assert region.arrived == [RAW]


def test_another_check_value_is_an_alarm(ready: Keystead, region: Region) -> None:
    region.told = "AES-CMAC:0000000000"
    ran = ready("key", "import", "mine", "-v", "v", "--in", "-", stdin=RAW)
    assert ran.code != 0
    assert "it is another key" in ran.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("key import mine -v v", "where is the key?"),
        ("key import mine -v v --in k --wrapped k", "where is the key?"),
        ("key import mine --in k", "needs --vault"),
        ("key import mine -v v --new-version --in k", "needs --vault"),
        ("key import mine -v v --in k --format pgp", "there is no format"),
        ("key import mine -v v --in missing", "cannot read missing"),
        ("key import mine -v v --wrapped k", "neither what"),
        ("key import-params", "for what?"),
        ("key wrap-material --params k --in k", "not what `keystead key import-params` printed"),
        ("vault restore k", "not the whole backup"),
        ("key backup mine k", "is there already"),
        ("vault backup v k", "is there already"),
    ],
)
def test_what_cannot_be_is_said(ready: Keystead, line: str, said: str) -> None:
    Path("k").write_bytes(RAW)
    ran = ready(*line.split())
    assert ran.code == 2, ran.err
    assert said in ran.err


def test_backups_are_files_for_this_user_alone(ready: Keystead, region: Region) -> None:
    ready("key", "create", "k", "-v", "v")
    assert "is in k.backup, up to version 1" in ready("key", "backup", "k", "k.backup").out
    assert "with 4 keys" in ready("vault", "backup", "v", "v.backup").out
    for name in ("k.backup", "v.backup"):
        assert Path(name).stat().st_mode & 0o777 == 0o600
    ran = ready("key", "restore", "k.backup")
    assert "is DISABLED" in ran.out
    assert "warning: rotate it" in ran.err
    ran = ready("vault", "restore", "v.backup")
    assert "2 keys restored, 2 there already" in ran.out


def test_a_cut_vault_backup_restores_nothing(ready: Keystead, region: Region) -> None:
    whole = material.join([b"one", b"another"])
    assert material.split(whole) == [b"one", b"another"]
    for size in range(len(whole)):
        with pytest.raises(CliError):
            material.split(whole[:size])
    for bad in (whole + b"\0", b"X" + whole[1:], material.join([])):
        with pytest.raises(CliError):
            material.split(bad)
    before = len(region.exchanges)
    Path("cut").write_bytes(whole[:-1])
    assert ready("vault", "restore", "cut").code == 2
    assert len(region.exchanges) == before
