"""Getting the root key: the right one, the wrong one, and one that lies open."""

import os
from pathlib import Path

import msgspec
import pytest

from keystead.core.errors import Refusal
from keystead.core.secret import Secret
from keystead.seal.openers import KeyFile
from keystead.server import settings
from keystead.server.sealing.unseal import ask_passphrase, open_root
from keystead.server.settings import Effective


def with_key_file(region: Effective, key_file: str) -> Effective:
    unseal = msgspec.structs.replace(region.settings.unseal, key_file=key_file)
    return Effective(msgspec.structs.replace(region.settings, unseal=unseal), region.file, region.state)


def refused(region: Effective, passphrase: Secret | None = None) -> Refusal:
    with pytest.raises(Refusal) as caught:
        open_root(region, passphrase)
    return caught.value


def test_another_regions_key_file(region: Effective, tmp_path: Path) -> None:
    path = tmp_path / "other.key"
    path.write_bytes(KeyFile.generate().content().reveal())
    path.chmod(0o400)
    error = refused(with_key_file(region, str(path)))
    assert error.code == "WrongRootKey"
    assert str(path) in error.message
    assert "nothing was touched" in error.hint


def test_a_wrong_passphrase(region: Effective) -> None:
    error = refused(region, Secret(b"correct horse battery staple"))
    assert error.code == "WrongRootKey"
    assert "correct horse" not in error.message + error.hint


def test_a_key_file_that_others_can_read(region: Effective, tmp_path: Path) -> None:
    assert region.key_file is not None
    path = tmp_path / "open.key"
    path.write_bytes(region.key_file.read_bytes())
    path.chmod(0o440)
    error = refused(with_key_file(region, str(path)))
    assert error.code == "KeyFileExposed"
    assert "chmod 0400" in error.hint


def test_a_missing_key_file(region: Effective) -> None:
    error = refused(with_key_file(region, "/nowhere/root.key"))
    assert error.code == "NoKeyFile"
    assert "--passphrase-stdin" in error.hint


def test_a_file_that_is_no_key(region: Effective, tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    path.write_bytes(b"hello")
    path.chmod(0o400)
    assert refused(with_key_file(region, str(path))).code == "InvalidKeyFile"


def test_without_a_key_file_the_passphrase_is_needed(region: Effective) -> None:
    assert refused(with_key_file(region, "")).code == "PassphraseNeeded"


def test_a_damaged_seal(region: Effective) -> None:
    path = region.state / "seal.json"
    path.write_bytes(path.read_bytes().replace(b'"generation":1', b'"generation":2'))
    assert refused(region).code == "WrongRootKey"
    path.write_bytes(b"{}")
    assert refused(region).code == "InvalidSealFile"


def test_settings_of_another_region(region: Effective) -> None:
    renamed = settings.parse(b"[region]\nname = 'away'\n", region.file, {})
    assert refused(with_key_file(renamed, str(region.key_file))).code == "WrongRegion"


def test_the_passphrase_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one two three four\nnot this line\n")
    os.close(writer)
    with open(reader) as source:
        monkeypatch.setattr("sys.stdin", source)
        assert ask_passphrase(from_stdin=True).reveal() == b"one two three four"
